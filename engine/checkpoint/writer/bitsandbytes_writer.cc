#include "engine/checkpoint/writer/bitsandbytes_writer.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

constexpr int64_t kBlock = 64;
// The JSON's length does not depend on the numbers in it, so that a file's layout is known before it is quantised.
constexpr int64_t kStateAlignment = 64;

const char* TorchName(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
    default:
      return "float32";
  }
}

// As Python's json would write it, but for the offset, whose digits are of a fixed number (and exact).
std::string StateOf(const TensorLocation& weight, float offset) {
  CHECK_GE(offset, 0.0f);  // a mean of magnitudes
  std::string json =
      absl::StrFormat(R"({"quant_type": "nf4", "blocksize": %d, "dtype": "%s", "shape": [%d, %d], )"
                      R"("nested_blocksize": %d, "nested_dtype": "float32", "nested_offset": %.16e})",
                      kBlock, TorchName(weight.dtype), weight.rows(), weight.columns(), kNestedBlock, offset);
  const auto size = static_cast<int64_t>(json.size());
  json.resize(static_cast<size_t>((size + kStateAlignment - 1) / kStateAlignment * kStateAlignment), ' ');
  return json;
}

int64_t NumBlocks(const TensorLocation& weight) { return weight.rows() * weight.columns() / kBlock; }
int64_t NumNestedBlocks(const TensorLocation& weight) { return (NumBlocks(weight) + kNestedBlock - 1) / kNestedBlock; }

// The scales of the blocks' scales, which every row holds for itself, as the one list of the file.
std::vector<float> NestedScalesOf(const TensorLocation& weight, const ScaleArrays& scales) {
  std::vector<float> nested(static_cast<size_t>(NumNestedBlocks(weight)));
  const int64_t width = NumNestedScales(scales.groups);
  for (int64_t row = 0; row < scales.rows; ++row) {
    const int64_t change = scales.nested_change[static_cast<size_t>(row)];
    for (int64_t group = 0; group < scales.groups; ++group) {
      const int64_t idx = group < change ? 0 : 1 + (group - change) / kNestedBlock;
      nested[static_cast<size_t>((row * scales.groups + group) / kNestedBlock)] =
          scales.nested_scales[static_cast<size_t>(row * width + idx)];
    }
  }
  return nested;
}

class BitsAndBytesEncoder : public WeightEncoder {
 public:
  absl::StatusOr<std::vector<TensorLayout>> LayoutsOf(const TensorLocation& weight) const override {
    const absl::Status valid = ValidateQuantization(
        {.format = WeightFormat::kNf4, .group_size = kBlock, .double_quantized = true}, weight.columns());
    if (!valid.ok()) return valid;
    const int64_t blocks = NumBlocks(weight);
    const int64_t nested = NumNestedBlocks(weight);
    const auto state_bytes = static_cast<int64_t>(StateOf(weight, 0).size());
    const auto name = [&](const char* suffix) { return absl::StrCat(weight.name, ".", suffix); };
    // Numbers of 4 bytes first: they are aligned wherever all weights fill whole words.
    return std::vector<TensorLayout>{
        {.name = name("nested_absmax"), .dtype = "F32", .shape = {nested}, .bytes = 4 * nested},
        {.name = name("nested_quant_map"), .dtype = "F32", .shape = {256}, .bytes = 4 * 256},
        {.name = name("quant_map"), .dtype = "F32", .shape = {16}, .bytes = 4 * 16},
        {.name = weight.name, .dtype = "U8", .shape = {blocks * kBlock / 2, 1}, .bytes = blocks * kBlock / 2},
        {.name = name("quant_state.bitsandbytes__nf4"), .dtype = "U8", .shape = {state_bytes}, .bytes = state_bytes},
        {.name = name("absmax"), .dtype = "U8", .shape = {blocks}, .bytes = blocks},
    };
  }

  std::vector<std::byte> Encode(const TensorLocation& weight, const QuantizedTensor& quantized) const override {
    const ScaleArrays& scales = quantized.scales;
    const float offset = scales.nested_offsets.empty() ? 0.0f : scales.nested_offsets.front();
    std::vector<uint8_t> codes(quantized.codes.size());
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<uint8_t>(quantized.codes[i] << 4 | quantized.codes[i] >> 4);
    }
    ByteSink sink;
    sink.Append(std::span<const float>(NestedScalesOf(weight, scales)));
    sink.Append(std::span<const float>(DynamicMap()));
    sink.Append(std::span<const float>(kNf4Values));
    sink.Append(std::span<const uint8_t>(codes));
    sink.Append(std::span<const char>(StateOf(weight, offset)));
    sink.Append(std::span<const uint8_t>(scales.nested_codes));
    return sink.Take();
  }

  nlohmann::ordered_json Config(const ModuleNames& modules, DType dtype) const override {
    return {{"quant_method", "bitsandbytes"},
            {"load_in_4bit", true},
            {"load_in_8bit", false},
            {"bnb_4bit_quant_type", "nf4"},
            {"bnb_4bit_use_double_quant", true},
            {"bnb_4bit_compute_dtype", TorchName(dtype)},
            {"bnb_4bit_quant_storage", "uint8"},
            {"llm_int8_enable_fp32_cpu_offload", false},
            {"llm_int8_has_fp16_weight", false},
            {"llm_int8_skip_modules", modules.dense},
            {"llm_int8_threshold", 6.0}};
  }
};

}  // namespace

std::unique_ptr<WeightEncoder> CreateBitsAndBytesEncoder() { return std::make_unique<BitsAndBytesEncoder>(); }

}  // namespace switchyard
