#include "kernels/cpu/kv_quantize.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/kv_quantize.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/vector_util-inl.h"
#include "kernels/kv_scale.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Bits = hn::RebindToUnsigned<Floats>;
using Integers = hn::RebindToSigned<Floats>;

constexpr size_t kMaxLanes = HWY_MAX_BYTES / sizeof(float);

// body(from, i, count) for every vector of values [i, i + count); `from` has a whole vector, with zeros at the end.
template <typename Body>
HWY_INLINE void ForEachVector(const float* HWY_RESTRICT values, size_t count, Body body) {
  const size_t lanes = hn::Lanes(Floats());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) body(values + i, i, lanes);
  if (i == count) return;
  float rest[kMaxLanes] = {};
  std::copy(values + i, values + count, rest);
  body(rest, i, count - i);
}

uint32_t LargestMagnitudeBits(const float* HWY_RESTRICT values, size_t count) {
  const Bits bits;
  const auto mask = hn::Set(bits, 0x7FFFFFFFu);
  auto largest = hn::Zero(bits);
  ForEachVector(values, count, [&](const float* from, size_t, size_t) SWITCHYARD_INLINE_LAMBDA {
    largest = hn::Max(largest, hn::And(hn::BitCast(bits, hn::LoadU(Floats(), from)), mask));
  });
  return hn::GetLane(hn::MaxOfLanes(bits, largest));
}

// Rounds finite values to the element type's patterns, one in each lane.
struct RoundToFloat8 {
  HWY_INLINE auto operator()(hn::Vec<Floats> value) const {
    const Floats d;
    const Bits bits;
    const auto sign = hn::And(hn::ShiftRight<24>(hn::BitCast(bits, value)), hn::Set(bits, 0x80u));
    const auto magnitude = hn::Min(hn::Abs(value), hn::Set(d, kFloat8E4M3Max));
    // See Float8E4M3FromFloat.
    const auto shifted = hn::BitCast(bits, hn::Add(magnitude, hn::Set(d, 0x1p14f)));
    const auto subnormal = hn::Sub(shifted, hn::BitCast(bits, hn::Set(d, 0x1p14f)));
    const auto pattern = hn::BitCast(bits, magnitude);
    const auto odd = hn::And(hn::ShiftRight<20>(pattern), hn::Set(bits, 1u));
    const auto rounded = hn::ShiftRight<20>(hn::Add(hn::Add(pattern, hn::Set(bits, 0x7FFFFu)), odd));
    const auto normal = hn::Sub(rounded, hn::Set(bits, (127 - 7) << 3));
    const auto is_subnormal = hn::RebindMask(bits, hn::Lt(magnitude, hn::Set(d, 0x1p-6f)));
    const auto code = hn::Or(hn::IfThenElse(is_subnormal, subnormal, normal), sign);
    return hn::DemoteTo(hn::Rebind<uint8_t, Floats>(), hn::BitCast(Integers(), code));
  }
};

struct RoundToInt8 {
  HWY_INLINE auto operator()(hn::Vec<Floats> value) const {
    const Floats d;
    const auto limit = hn::Set(d, 127.0f);
    const auto clamped = hn::Min(hn::Max(value, hn::Neg(limit)), limit);
    return hn::DemoteTo(hn::Rebind<int8_t, Floats>(), hn::NearestInt(clamped));
  }
};

template <typename Round, typename Code>
void Quantize(const float* HWY_RESTRICT values, size_t count, float largest_element, Code* HWY_RESTRICT out,
              float* scale) {
  const Floats d;
  const hn::Rebind<Code, Floats> codes;
  const KvScale chosen = KvScaleOf(LargestMagnitudeBits(values, count), largest_element);
  *scale = chosen.scale;
  if (chosen.inverse == 0) {
    std::memset(out, 0, count);
    return;
  }
  const auto inverse = hn::Set(d, chosen.inverse);
  ForEachVector(values, count, [&](const float* from, size_t i, size_t filled) SWITCHYARD_INLINE_LAMBDA {
    Code rounded[kMaxLanes];
    hn::StoreU(Round()(hn::Mul(hn::LoadU(d, from), inverse)), codes, rounded);
    std::memcpy(out + i, rounded, filled);
  });
}

void QuantizeFloat8(const float* values, size_t count, uint8_t* out, float* scale) {
  Quantize<RoundToFloat8>(values, count, kFloat8E4M3Max, out, scale);
}

void QuantizeInt8(const float* values, size_t count, int8_t* out, float* scale) {
  Quantize<RoundToInt8>(values, count, kLargestKvElement<int8_t>, out, scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(QuantizeFloat8);
HWY_EXPORT(QuantizeInt8);

void QuantizeKv(const float* values, int64_t count, Float8E4M3* out, float* scale) {
  static_assert(sizeof(Float8E4M3) == 1);
  HWY_DYNAMIC_DISPATCH(QuantizeFloat8)(values, static_cast<size_t>(count), &out->bits, scale);
}

void QuantizeKv(const float* values, int64_t count, int8_t* out, float* scale) {
  HWY_DYNAMIC_DISPATCH(QuantizeInt8)(values, static_cast<size_t>(count), out, scale);
}

}  // namespace switchyard
#endif  // HWY_ONCE
