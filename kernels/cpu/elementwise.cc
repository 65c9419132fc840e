#include "kernels/cpu/elementwise.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void AddScaledRange(const float* HWY_RESTRICT x, float factor, size_t count, float* HWY_RESTRICT acc) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto factors = hn::Set(d, factor);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), factors, hn::LoadU(d, acc + i)), d, acc + i);
  }
  for (; i < count; ++i) acc[i] += factor * x[i];
}

template <class D>
HWY_INLINE hn::Vec<D> Silu(D d, hn::Vec<D> z) {
  // exp is kept below the largest float; z over it is 0 to float precision there.
  const auto exponent = hn::Min(hn::Neg(z), hn::Set(d, 88.0f));
  return hn::Div(z, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, exponent)));
}

void SiluMultiplyRange(const float* HWY_RESTRICT up, size_t count, float* HWY_RESTRICT gate) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Mul(Silu(d, hn::LoadU(d, gate + i)), hn::LoadU(d, up + i)), d, gate + i);
  }
  if (i == count) return;
  HWY_ALIGN float tail[hn::MaxLanes(d)] = {};
  std::copy(gate + i, gate + count, tail);
  hn::Store(Silu(d, hn::Load(d, tail)), d, tail);
  for (size_t j = 0; i + j < count; ++j) gate[i + j] = tail[j] * up[i + j];
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(AddScaledRange);
HWY_EXPORT(SiluMultiplyRange);

void AddScaled(const float* x, float factor, int64_t count, float* acc) {
  HWY_DYNAMIC_DISPATCH(AddScaledRange)(x, factor, count, acc);
}

void SiluMultiply(const float* up, int64_t count, float* gate) {
  HWY_DYNAMIC_DISPATCH(SiluMultiplyRange)(up, count, gate);
}

}  // namespace switchyard
#endif  // HWY_ONCE
