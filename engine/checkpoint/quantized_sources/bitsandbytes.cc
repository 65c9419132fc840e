#include "engine/checkpoint/quantized_sources/bitsandbytes.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_document.h"
#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/quantized_location.h"

namespace switchyard {
namespace {

constexpr int64_t kBlock = 64;

// nested_offset, or 0.
absl::StatusOr<float> ReadState(const SourceParts& parts) {
  const TensorLocation& tensor = parts.tensor();
  const std::span<const char> text = parts.Get<char>(kQuantStateSuffix);
  const absl::StatusOr<nlohmann::json> state = ParseJsonObject("it", absl::string_view(text.data(), text.size()));
  if (!state.ok()) return parts.Fault(kQuantStateSuffix, absl::StrCat("is no state: ", state.status().message()));
  JsonFields fields("has a fault", *state);
  const std::string type = fields.String("quant_type").value_or("");
  if (type != "nf4") fields.Fail("quant_type", absl::StrCat("is '", type, "'; it must be 'nf4'"));
  const int64_t block = fields.RequiredInteger("blocksize", {.min = 1, .max = int64_t{1} << 20});
  if (block != kBlock) fields.Fail("blocksize", absl::StrCat("is ", block, "; only ", kBlock, " is read"));
  const nlohmann::json* const shape = fields.Find("shape");
  if (shape == nullptr || *shape != nlohmann::json(tensor.shape)) {
    fields.Fail("shape", absl::StrCat("is ", shape == nullptr ? "missing" : JsonText(*shape), "; it must be ",
                                      ShapeText(tensor.shape)));
  }
  double offset = 0;
  if (tensor.quantization.double_quantized) {
    const int64_t nested = fields.RequiredInteger("nested_blocksize", {.min = 1, .max = int64_t{1} << 20});
    if (nested != kNestedBlock) {
      fields.Fail("nested_blocksize", absl::StrCat("is ", nested, "; only ", kNestedBlock, " is read"));
    }
    constexpr double kMost = 65504;
    const std::optional<double> stated = fields.Number("nested_offset", {.min = -kMost, .max = kMost});
    if (!stated) fields.Fail("nested_offset", "is missing");
    offset = stated.value_or(0);
  }
  if (!fields.status().ok()) return parts.Fault(kQuantStateSuffix, fields.status().message());
  return static_cast<float>(offset);
}

absl::Status CheckTable(const SourceParts& parts, absl::string_view suffix, std::span<const float> expected,
                        float tolerance) {
  const std::span<const float> table = parts.Get<float>(suffix);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(table[i] - expected[i]) <= tolerance * std::abs(expected[i])) continue;
    return parts.Fault(suffix, absl::StrCat("has ", table[i], " at ", i, "; there it must have ", expected[i]));
  }
  return absl::OkStatus();
}

// Rows begin at any of the 256 groups that share a nested scale.
absl::Status FillNested(const SourceParts& parts, float offset, ScaleArrays& scales) {
  // Older versions of torch computed the map with other roundings.
  constexpr float kTolerance = 1e-6f;
  absl::Status table = CheckTable(parts, "nested_quant_map", DynamicMap(), kTolerance);
  if (!table.ok()) return table;
  const absl::StatusOr<std::vector<float>> file_scales = parts.GetFinite("nested_absmax");
  if (!file_scales.ok()) return file_scales.status();
  const std::span<const uint8_t> codes = parts.Get<uint8_t>("absmax");
  const int64_t width = NumNestedScales(scales.groups);
  scales.nested_codes.assign(codes.begin(), codes.end());
  scales.nested_scales.resize(static_cast<size_t>(scales.rows * width));
  scales.nested_change.resize(static_cast<size_t>(scales.rows));
  scales.nested_offsets.assign(static_cast<size_t>(scales.rows), offset);
  scales.values.resize(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    scales.values[i] = DynamicMap()[codes[i]] * (*file_scales)[i / kNestedBlock] + offset;
  }
  for (int64_t row = 0; row < scales.rows; ++row) {
    const int64_t first = row * scales.groups;
    const int64_t last = first + scales.groups - 1;
    scales.nested_change[static_cast<size_t>(row)] = static_cast<int32_t>(kNestedBlock - first % kNestedBlock);
    std::copy(file_scales->begin() + first / kNestedBlock, file_scales->begin() + last / kNestedBlock + 1,
              scales.nested_scales.begin() + row * width);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QuantizedTensor> ConvertBitsAndBytes(const SourceParts& parts) {
  const TensorLocation& location = parts.tensor();
  absl::StatusOr<float> offset = 0.0f;
  try {
    offset = ReadState(parts);
  } catch (const std::exception& e) {
    return parts.Fault(kQuantStateSuffix, absl::StrCat("is no state: ", e.what()));
  }
  if (!offset.ok()) return offset.status();
  absl::Status status = CheckTable(parts, "quant_map", kNf4Values, 0);
  if (!status.ok()) return status;
  QuantizedTensor tensor{.quantization = location.quantization, .rows = location.rows(), .columns = location.columns()};
  tensor.scales.rows = tensor.rows;
  tensor.scales.groups = tensor.columns / kBlock;
  if (tensor.quantization.double_quantized) {
    status = FillNested(parts, *offset, tensor.scales);
    if (!status.ok()) return status;
  } else {
    absl::StatusOr<std::vector<float>> absmax = parts.GetFinite("absmax");
    if (!absmax.ok()) return absmax.status();
    tensor.scales.values = *std::move(absmax);
  }
  const std::span<const uint8_t> codes = parts.Get<uint8_t>("");
  tensor.codes.resize(codes.size());
  std::transform(codes.begin(), codes.end(), tensor.codes.begin(),
                 [](uint8_t pair) { return static_cast<uint8_t>(pair >> 4 | pair << 4); });
  return tensor;
}

}  // namespace switchyard
