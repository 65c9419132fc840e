// What the tests of quantised weights share.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "kernels/quantization/quantization.h"
#include "kernels/quantization/quantize.h"

namespace switchyard {

// body() once with each instruction set of this machine.
template <typename Body>
void ForEachVectorTarget(const Body& body) {
  const auto use = [](int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  };
  use(0);
  const int64_t supported = hwy::SupportedTargets();
  for (const int64_t target : {HWY_SCALAR, HWY_SSE4, HWY_AVX2, HWY_AVX3}) {
    if (target != HWY_SCALAR && (supported & target) == 0) continue;
    SCOPED_TRACE(hwy::TargetName(target));
    use(target);
    body();
  }
  use(0);
}

inline std::vector<float> Normal(size_t count, float deviation = 1.0f, uint32_t seed = 20240611) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

inline QuantizationRecipe Recipe(const std::string& name) {
  const absl::StatusOr<QuantizationRecipe> recipe = ParseQuantizationRecipe(name);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.value_or(QuantizationRecipe());
}

inline QuantizedTensor MustQuantize(const std::string& name, const std::vector<float>& values, int64_t columns) {
  absl::StatusOr<QuantizedTensor> tensor = Quantize(Recipe(name), values, columns);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return tensor.ok() ? *std::move(tensor) : QuantizedTensor();
}

inline std::vector<float> Dequantize(const QuantizedTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.columns));
  DequantizeRows(tensor, 0, tensor.rows, values);
  return values;
}

inline int CodeAt(const QuantizedTensor& tensor, int64_t row, int64_t column) {
  const uint8_t* codes = tensor.codes.data() + row * tensor.quantization.CodeBytes(tensor.columns);
  if (tensor.quantization.bits() == 8) return codes[column];
  return column % 2 == 0 ? codes[column / 2] & 15 : codes[column / 2] >> 4;
}

// The second level's scale of group `g`.
inline float NestedScaleAt(const NestedScales& nested, int64_t groups, int64_t row, int64_t g) {
  const int64_t change = nested.change[static_cast<size_t>(row)];
  const int64_t index = g < change ? 0 : 1 + (g - change) / 256;
  EXPECT_LT(index, NumNestedScales(groups));
  return nested.scales[static_cast<size_t>(row * NumNestedScales(groups) + index)];
}

// The formula of NestedScales.
inline float ScaleFromNested(const NestedScales& nested, int64_t groups, int64_t row, int64_t g) {
  const uint8_t code = nested.codes[static_cast<size_t>(row * groups + g)];
  return DynamicMap()[code] * NestedScaleAt(nested, groups, row, g) + nested.offsets[static_cast<size_t>(row)];
}

}  // namespace switchyard
