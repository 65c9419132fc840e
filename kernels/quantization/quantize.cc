#include "kernels/quantization/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/quantization/group_rounding.h"

namespace switchyard {
namespace {

constexpr float kLeastFloat16 = 0x1p-24f;

// The float16 that divides `range` into `levels` steps, or null if it is too large for one. A range of 0 has scale 0.
std::optional<float> StepOf(float range, float levels) {
  if (range == 0.0f) return 0.0f;
  const float step = FloatFromFloat16(Float16FromFloat(range / levels));
  if (!std::isfinite(step)) return std::nullopt;
  return std::max(step, kLeastFloat16);
}

absl::Status TooLarge(float range) {
  return absl::InvalidArgumentError(absl::StrCat("weights that span ", range, " have no float16 scale"));
}

// Turns the largest magnitudes of groups into their scales. Frantar et al. 2022, arXiv:2210.17323: round to nearest.
absl::Status FindSymmetricScales(const QuantizationRecipe& recipe, std::span<float> scales) {
  if (recipe.per_channel) std::fill(scales.begin(), scales.end(), *std::max_element(scales.begin(), scales.end()));
  const auto levels = static_cast<float>((1 << recipe.stored.bits()) - 1);
  for (float& scale : scales) {
    const std::optional<float> step = StepOf(2 * scale, levels);
    if (!step.has_value()) return TooLarge(2 * scale);
    scale = *step;
  }
  return absl::OkStatus();
}

absl::Status FindAsymmetricScales(const Quantization& quantization, std::span<const float> row, std::span<float> scales,
                                  uint8_t* zeros) {
  std::vector<float> lows(scales.size());
  FindGroupRanges(row, quantization.group_size, lows.data(), scales.data());
  const auto levels = static_cast<float>((1 << quantization.bits()) - 1);
  for (size_t g = 0; g < scales.size(); ++g) {
    const float range = scales[g] - lows[g];
    const std::optional<float> step = StepOf(range, levels);
    if (!step.has_value()) return TooLarge(range);
    scales[g] = *step;
    zeros[g] = static_cast<uint8_t>(*step == 0.0f ? static_cast<float>(quantization.default_zero())
                                                  : std::min(std::nearbyint(-lows[g] / *step), levels));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status QuantizeRow(const QuantizationRecipe& recipe, std::span<const float> row, uint8_t* codes, float* scales,
                         uint8_t* zeros) {
  const Quantization& quantization = recipe.stored;
  CHECK(!quantization.is_dense());
  if (row.empty()) return absl::OkStatus();
  const std::span<float> group_scales(scales, quantization.NumGroups(static_cast<int64_t>(row.size())));
  FindGroupMagnitudes(row, quantization.group_size, scales);
  for (size_t g = 0; g < group_scales.size(); ++g) {
    if (!std::isfinite(group_scales[g])) {
      return absl::InvalidArgumentError(
          absl::StrCat("weights that are not finite, in group ", g, " of ", group_scales.size()));
    }
  }
  if (quantization.format == WeightFormat::kNf4) {
    RoundToNf4(row, quantization.group_size, scales, codes);
    return absl::OkStatus();
  }
  absl::Status status = quantization.has_zeros ? FindAsymmetricScales(quantization, row, group_scales, zeros)
                                               : FindSymmetricScales(recipe, group_scales);
  if (!status.ok()) return status;
  RoundToLevels(row, quantization.group_size,
                {.bits = quantization.bits(),
                 .scales = scales,
                 .zeros = quantization.has_zeros ? zeros : nullptr,
                 .default_zero = quantization.default_zero()},
                codes);
  return absl::OkStatus();
}

absl::StatusOr<QuantizedTensor> Quantize(const QuantizationRecipe& recipe, std::span<const float> values,
                                         int64_t columns) {
  const Quantization& quantization = recipe.stored;
  CHECK(!quantization.is_dense());
  CHECK_GT(columns, 0);
  CHECK_EQ(values.size() % static_cast<size_t>(columns), 0u);
  if (absl::Status valid = ValidateQuantization(quantization, columns); !valid.ok()) return valid;
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  const int64_t groups = quantization.NumGroups(columns);
  const int64_t code_bytes = quantization.CodeBytes(columns);
  QuantizedTensor tensor = {.quantization = quantization, .rows = rows, .columns = columns};
  tensor.codes.resize(static_cast<size_t>(rows * code_bytes));
  tensor.scales.rows = rows;
  tensor.scales.groups = groups;
  tensor.scales.values.resize(static_cast<size_t>(rows * groups));
  if (quantization.has_zeros) tensor.scales.zeros.resize(static_cast<size_t>(rows * groups));
  for (int64_t row = 0; row < rows; ++row) {
    uint8_t* zeros = quantization.has_zeros ? tensor.scales.zeros.data() + row * groups : nullptr;
    absl::Status status =
        QuantizeRow(recipe, values.subspan(static_cast<size_t>(row * columns), static_cast<size_t>(columns)),
                    tensor.codes.data() + row * code_bytes, tensor.scales.values.data() + row * groups, zeros);
    if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("row ", row, ": ", status.message()));
  }
  if (quantization.double_quantized) DoubleQuantize(tensor.scales);
  return tensor;
}

}  // namespace switchyard
