#include "kernels/cpu/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The largest value; NaN if any value is NaN.
float LargestOrNaN(const float* HWY_RESTRICT row, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto nan = hn::IsNaN(largest);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, row + i);
    largest = hn::Max(largest, v);
    nan = hn::Or(nan, hn::IsNaN(v));
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  bool has_nan = !hn::AllFalse(d, nan);
  for (; i < n; ++i) {
    result = std::max(result, row[i]);
    has_nan |= std::isnan(row[i]);
  }
  return has_nan ? std::numeric_limits<float>::quiet_NaN() : result;
}

void ExpOfScaledRow(const float* HWY_RESTRICT row, size_t n, float largest, float temperature,
                    float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto shift = hn::Set(d, largest);
  const auto divisor = hn::Set(d, temperature);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Exp(d, hn::Div(hn::Sub(hn::LoadU(d, row + i), shift), divisor)), d, out + i);
  }
  if (i == n) return;
  HWY_ALIGN float tail[hn::MaxLanes(d)];
  std::fill_n(tail, lanes, largest);
  std::copy(row + i, row + n, tail);
  hn::Store(hn::Exp(d, hn::Div(hn::Sub(hn::Load(d, tail), shift), divisor)), d, tail);
  std::copy_n(tail, n - i, out + i);
}

double SumOfExp(const float* HWY_RESTRICT row, size_t n, float largest) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto shift = hn::Set(d, largest);
  // Partial sums of a block in float, blocks in double: 32 additions per lane keep the error near one rounding.
  const size_t block = 32 * lanes;
  double sum = 0;
  size_t i = 0;
  while (i + lanes <= n) {
    const size_t end = std::min(n, i + block);
    auto partial = hn::Zero(d);
    for (; i + lanes <= end; i += lanes) {
      partial = hn::Add(partial, hn::Exp(d, hn::Sub(hn::LoadU(d, row + i), shift)));
    }
    sum += hn::GetLane(hn::SumOfLanes(d, partial));
  }
  for (; i < n; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
  return sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(LargestOrNaN);
HWY_EXPORT(ExpOfScaledRow);
HWY_EXPORT(SumOfExp);

RowMaximum FindRowMaximum(std::span<const float> row) {
  const float largest = HWY_DYNAMIC_DISPATCH(LargestOrNaN)(row.data(), row.size());
  if (!std::isfinite(largest)) return {};
  const auto index = std::find(row.begin(), row.end(), largest) - row.begin();
  return {largest, static_cast<int32_t>(index)};
}

void ExpOfScaled(std::span<const float> row, float largest, float temperature, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(ExpOfScaledRow)(row.data(), row.size(), largest, temperature, out.data());
}

double LogSumExp(std::span<const float> row, float largest) {
  return largest + std::log(HWY_DYNAMIC_DISPATCH(SumOfExp)(row.data(), row.size(), largest));
}

}  // namespace switchyard
#endif  // HWY_ONCE
