#include "kernels/cpu/norm.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void RmsNormRow(const float* x, const float* HWY_RESTRICT weight, float eps, size_t hidden, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto squares = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= hidden; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    squares = hn::MulAdd(v, v, squares);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (; i < hidden; ++i) sum += static_cast<double>(x[i]) * x[i];
  const auto inverse_rms = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(hidden) + eps));
  const auto factor = hn::Set(d, inverse_rms);
  for (i = 0; i + lanes <= hidden; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), factor), hn::LoadU(d, weight + i)), d, out + i);
  }
  for (; i < hidden; ++i) out[i] = x[i] * inverse_rms * weight[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(RmsNormRow);

void RmsNormRows(const float* x, const float* weight, float eps, int64_t rows, int64_t hidden, float* out) {
  for (int64_t r = 0; r < rows; ++r) {
    HWY_DYNAMIC_DISPATCH(RmsNormRow)(x + r * hidden, weight, eps, hidden, out + r * hidden);
  }
}

}  // namespace switchyard
#endif  // HWY_ONCE
