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

void RoundRow(const float* row, int64_t columns, int32_t weight_zero, int64_t stride, ActivationGroup* out) {
  for (int64_t c = 0; c < columns; c += kColumns, out += stride) {
    float padded[kColumns];
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

#else

// Groups that are rounded together, so that they share folding and dividing.
constexpr size_t kGroups = kFoldedVectors;

// x [kGroups][32]; out [count].
void RoundGroups(const float* HWY_RESTRICT x, size_t count, int32_t weight_zero, int64_t stride, ActivationGroup* out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> int_tag;
  const hn::Rebind<int8_t, decltype(d)> code_tag;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN float inverse[kGroups], scale[kGroups], scaled_sum[kGroups];
  HWY_ALIGN int32_t largest[kGroups], sum[kGroups], offset[kGroups];
  hn::Vec<decltype(int_tag)> folded[kGroups];

  // As integers: the bits of a NaN are larger than any number's, so it is not lost.
  const auto magnitude = hn::Set(int_tag, 0x7FFF'FFFF);
  for (size_t g = 0; g < kGroups; ++g) {
    folded[g] = hn::Zero(int_tag);
    for (size_t i = g * kColumns; i < (g + 1) * kColumns; i += lanes) {
      folded[g] = hn::Max(folded[g], hn::And(hn::BitCast(int_tag, hn::LoadU(d, x + i)), magnitude));
    }
  }
  StoreFolded<ByMax>(int_tag, folded, largest);
  const auto most = hn::Set(d, kLargestCode);
  for (size_t g = 0; g < kGroups; g += lanes) {
    const auto of_group = hn::BitCast(d, hn::Load(int_tag, largest + g));
    hn::Store(hn::IfThenZeroElse(hn::Lt(of_group, hn::Set(d, kNegligible)), hn::Div(most, of_group)), d, inverse + g);
    hn::Store(hn::Div(of_group, most), d, scale + g);
  }

  int8_t unused[kColumns];
  for (size_t g = 0; g < kGroups; ++g) {
    folded[g] = hn::Zero(int_tag);
    int8_t* codes = g < count ? out[static_cast<int64_t>(g) * stride].codes : unused;
    for (size_t i = 0; i < kColumns; i += lanes) {
      const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + g * kColumns + i), hn::Set(d, inverse[g])));
      const auto small = hn::DemoteTo(code_tag, rounded);
      hn::StoreU(small, code_tag, codes + i);
      folded[g] = hn::Add(folded[g], hn::PromoteTo(int_tag, small));
    }
  }
  StoreFolded<BySum>(int_tag, folded, sum);
  for (size_t g = 0; g < kGroups; g += lanes) {
    const auto of_group = hn::Load(int_tag, sum + g);
    hn::Store(hn::Mul(of_group, hn::Set(int_tag, -weight_zero)), int_tag, offset + g);
    hn::Store(hn::Mul(hn::Load(d, scale + g), hn::ConvertTo(d, of_group)), d, scaled_sum + g);
  }
  for (size_t g = 0; g < count; ++g, out += stride) {
    out->scale = scale[g];
    out->offset = offset[g];
    out->scaled_sum = scaled_sum[g];
  }
}

void RoundRow(const float* row, int64_t columns, int32_t weight_zero, int64_t stride, ActivationGroup* out) {
  constexpr int64_t kTogether = kGroups * kColumns;
  int64_t c = 0;
  for (; c + kTogether <= columns; c += kTogether, out += kGroups * stride) {
    RoundGroups(row + c, kGroups, weight_zero, stride, out);
  }
  if (c == columns) return;
  float padded[kTogether];
  std::fill(std::copy(row + c, row + columns, padded), padded + kTogether, 0.0f);
  RoundGroups(padded, NumActivationGroups(columns - c), weight_zero, stride, out);
}

#endif

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
