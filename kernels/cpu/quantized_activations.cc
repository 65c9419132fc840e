#include "kernels/cpu/quantized_activations.h"

#include <algorithm>
#include <bit>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantized_activations.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/vector_util-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kColumns = ActivationGroup::kColumns;
constexpr float kLargestCode = 127.0f;
constexpr float kNegligible = 1e-30f;

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

float LargestMagnitude(const float* x) {
  int32_t largest = 0;
  for (size_t i = 0; i < kColumns; ++i) largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & 0x7FFF'FFFF);
  return std::bit_cast<float>(largest);
}

int32_t RoundCodes(const float* x, float inverse, int8_t* codes) {
  int32_t sum = 0;
  for (size_t i = 0; i < kColumns; ++i) {
    const float scaled = x[i] * inverse;
    codes[i] = std::isfinite(scaled) ? static_cast<int8_t>(std::lrint(scaled)) : int8_t{-128};
    sum += codes[i];
  }
  return sum;
}

#else

// As integers: the bits of a NaN are larger than any number's, so it is not lost.
float LargestMagnitude(const float* HWY_RESTRICT x) {
  const hn::ScalableTag<int32_t> d;
  const hn::RebindToFloat<decltype(d)> float_tag;
  const auto magnitude = hn::Set(d, 0x7FFF'FFFF);
  auto largest = hn::Zero(d);
  for (size_t i = 0; i < kColumns; i += hn::Lanes(d)) {
    largest = hn::Max(largest, hn::And(hn::BitCast(d, hn::LoadU(float_tag, x + i)), magnitude));
  }
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(d, largest)));
}

int32_t RoundCodes(const float* HWY_RESTRICT x, float inverse, int8_t* HWY_RESTRICT codes) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> int_tag;
  const hn::Rebind<int8_t, decltype(d)> code_tag;
  auto sum = hn::Zero(int_tag);
  for (size_t i = 0; i < kColumns; i += hn::Lanes(d)) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
    const auto small = hn::DemoteTo(code_tag, rounded);
    hn::StoreU(small, code_tag, codes + i);
    sum = hn::Add(sum, hn::PromoteTo(int_tag, small));
  }
  return hn::GetLane(hn::SumOfLanes(int_tag, sum));
}

#endif

void RoundRow(const float* row, int64_t columns, int32_t weight_zero, int64_t stride, ActivationGroup* out) {
  for (int64_t c = 0; c < columns; c += kColumns, out += stride) {
    HWY_ALIGN float padded[kColumns];
    const float* x = row + c;
    if (columns - c < static_cast<int64_t>(kColumns)) {
      std::fill(std::copy(x, row + columns, padded), padded + kColumns, 0.0f);
      x = padded;
    }
    const float largest = LargestMagnitude(x);
    const int32_t sum = RoundCodes(x, largest < kNegligible ? 0.0f : kLargestCode / largest, out->codes);
    out->scale = largest / kLargestCode;
    out->offset = -weight_zero * sum;
    out->scaled_sum = out->scale * static_cast<float>(sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(RoundRow);

void RoundActivations(const float* row, int64_t columns, int32_t weight_zero, int64_t stride, ActivationGroup* out) {
  HWY_DYNAMIC_DISPATCH(RoundRow)(row, columns, weight_zero, stride, out);
}

}  // namespace switchyard
#endif  // HWY_ONCE
