// Elements of KV rows as vectors of floats, compiled once for each instruction set by the file that includes this one.
// No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_KV_ELEMENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_KV_ELEMENTS_INL_H_
#undef SWITCHYARD_KERNELS_CPU_KV_ELEMENTS_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_KV_ELEMENTS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/float8.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What LoadElements' numbers are to be multiplied with, beside the row's scale.
template <typename Element>
inline constexpr float kElementUnit = 1.0f;
template <>
inline constexpr float kElementUnit<Float8E4M3> = 256.0f;

// As many elements as `d` has lanes, in units of kElementUnit.
template <class D>
HWY_INLINE hn::Vec<D> LoadElements(D d, const float* HWY_RESTRICT from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadElements(D d, const int8_t* HWY_RESTRICT from) {
  return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), hn::LoadU(hn::Rebind<int8_t, D>(), from)));
}

// Exponent and mantissa in float16's places, subnormals included, are too small by 2^(15 - 7).
template <class D>
HWY_INLINE hn::Vec<D> LoadElements(D d, const Float8E4M3* HWY_RESTRICT from) {
  const hn::Rebind<int16_t, D> d16;
  const hn::Rebind<int8_t, D> d8;
  // The sign fills the upper half; of what the shift leaves of it, the lowest bit is the exponent's.
  const auto wide = hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const int8_t*>(from)));
  const auto half = hn::And(hn::ShiftLeft<7>(wide), hn::Set(d16, static_cast<int16_t>(0xBFFF)));
  return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), half));
}

// Brings a row [head_dim] on its way from memory: pages lie apart, where no hardware looks ahead.
template <typename Element>
HWY_INLINE void PrefetchRow(const Element* row, size_t head_dim) {
  constexpr size_t kLineBytes = 64;
  const auto* bytes = reinterpret_cast<const char*>(row);
  for (size_t b = 0; b < head_dim * sizeof(Element); b += kLineBytes) __builtin_prefetch(bytes + b);
}

// The same as LoadElements, of one element.
HWY_INLINE float LoadElement(const float* from) { return *from; }
HWY_INLINE float LoadElement(const int8_t* from) { return *from; }
HWY_INLINE float LoadElement(const Float8E4M3* from) {
  return FloatFromFloat8E4M3(*from) * (1.0f / kElementUnit<Float8E4M3>);
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
