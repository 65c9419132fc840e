// Activations rounded to 8 bits, as the integer products take them.
//
// 32 consecutive columns share a scale, the largest magnitude over 127: x ~ scale * code with codes in [-127, 127],
// rounded to nearest, ties to even. A row's codes depend on that row alone. Not a number and infinity make a scale that
// is not finite, so that products with that row are not finite; a group whose magnitudes are all below 1e-30 counts as
// zeros.
#pragma once

#include <cstdint>

namespace switchyard {

struct ActivationGroup {
  static constexpr int64_t kColumns = 32;

  int8_t codes[kColumns];
  float scale;
  // What the codes of weights have too much, together: -(the weight's default zero) * (sum of codes).
  int32_t offset;
  float scaled_sum;  // scale * (sum of codes)
};

constexpr int64_t NumActivationGroups(int64_t columns) {
  return (columns + ActivationGroup::kColumns - 1) / ActivationGroup::kColumns;
}

// Rounds row [columns]; group g goes to out[g * stride]. Columns beyond the row have code 0.
void RoundActivations(const float* row, int64_t columns, int32_t weight_zero, int64_t stride, ActivationGroup* out);

}  // namespace switchyard
