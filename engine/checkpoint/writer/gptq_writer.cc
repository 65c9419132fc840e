#include "engine/checkpoint/writer/gptq_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/check.h"
#include "kernels/cpu/float_convert.h"

namespace switchyard {
namespace {

constexpr int64_t kWordBits = 32;

class GptqEncoder : public WeightEncoder {
 public:
  explicit GptqEncoder(const QuantizationRecipe& recipe)
      : recipe_(recipe), bits_(recipe.stored.bits()), per_word_(kWordBits / bits_) {}

  absl::StatusOr<std::vector<TensorLayout>> LayoutsOf(const TensorLocation& weight) const override {
    const int64_t rows = weight.rows();
    const int64_t columns = weight.columns();
    if (rows % per_word_ != 0 || columns % per_word_ != 0) {
      return absl::InvalidArgumentError(absl::StrCat("its shape ", ShapeText(weight.shape),
                                                     " cannot be packed: GPTQ needs multiples of ", per_word_));
    }
    const int64_t groups = NumGroups(columns);
    const std::string stem(absl::StripSuffix(weight.name, "weight"));
    const auto words = [&](const char* name, int64_t height, int64_t width) {
      return TensorLayout{
          .name = absl::StrCat(stem, name), .dtype = "I32", .shape = {height, width}, .bytes = 4 * height * width};
    };
    TensorLayout group_of = words("g_idx", 1, columns);
    group_of.shape = {columns};
    return std::vector<TensorLayout>{
        words("qweight", columns / per_word_, rows),
        words("qzeros", groups, rows / per_word_),
        std::move(group_of),
        {.name = absl::StrCat(stem, "scales"), .dtype = "F16", .shape = {groups, rows}, .bytes = 2 * groups * rows}};
  }

  std::vector<std::byte> Encode(const TensorLocation& weight, const QuantizedTensor& quantized) const override {
    CHECK(quantized.quantization == recipe_.stored);
    ByteSink sink;
    sink.Append(std::span<const uint32_t>(PackCodes(quantized)));
    sink.Append(std::span<const uint32_t>(PackZeros(quantized)));
    std::vector<int32_t> group_of(static_cast<size_t>(weight.columns()));
    for (size_t i = 0; i < group_of.size() && !recipe_.per_channel; ++i) {
      group_of[i] = static_cast<int32_t>(static_cast<int64_t>(i) / recipe_.stored.group_size);
    }
    sink.Append(std::span<const int32_t>(group_of));
    sink.Append(std::span<const uint16_t>(TransposeScales(quantized)));
    return sink.Take();
  }

  nlohmann::ordered_json Config(const ModuleNames& modules, DType /*dtype*/) const override {
    // Of one layer's modules, of which all layers have the same.
    nlohmann::ordered_json in_block = nlohmann::ordered_json::array();
    bool lm_head = false;
    for (const std::string& module : modules.quantized) {
      lm_head = lm_head || module == "lm_head";
      const std::vector<std::string> parts = absl::StrSplit(module, absl::MaxSplits("layers.0.", 1));
      if (parts.size() == 2) in_block.push_back(nlohmann::ordered_json::array({parts[1]}));
    }
    return {{"quant_method", "gptq"},
            {"bits", bits_},
            {"group_size", recipe_.per_channel ? -1 : recipe_.stored.group_size},
            {"sym", !recipe_.stored.has_zeros},
            {"desc_act", false},
            {"lm_head", lm_head},
            {"checkpoint_format", "gptq"},
            {"modules_in_block_to_quantize", std::move(in_block)}};
  }

 private:
  // In the file.
  int64_t NumGroups(int64_t columns) const { return recipe_.per_channel ? 1 : recipe_.stored.NumGroups(columns); }

  std::vector<uint32_t> PackCodes(const QuantizedTensor& tensor) const {
    const int64_t word_rows = tensor.columns / per_word_;
    const int64_t row_bytes = tensor.quantization.CodeBytes(tensor.columns);
    std::vector<uint32_t> words(static_cast<size_t>(word_rows * tensor.rows));
    // A word is 4 bytes of a row: in the neutral form, too, the first code has the lowest bits.
    for (int64_t row = 0; row < tensor.rows; ++row) {
      const uint8_t* codes = tensor.codes.data() + row * row_bytes;
      for (int64_t i = 0; i < word_rows; ++i) {
        words[static_cast<size_t>(i * tensor.rows + row)] = codes[4 * i] | uint32_t{codes[4 * i + 1]} << 8 |
                                                            uint32_t{codes[4 * i + 2]} << 16 |
                                                            uint32_t{codes[4 * i + 3]} << 24;
      }
    }
    return words;
  }

  std::vector<uint32_t> PackZeros(const QuantizedTensor& tensor) const {
    const int64_t groups = NumGroups(tensor.columns);
    const int64_t width = tensor.rows / per_word_;
    const uint32_t mask = (1u << bits_) - 1;
    std::vector<uint32_t> words(static_cast<size_t>(groups * width));
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t row = 0; row < tensor.rows; ++row) {
        const auto zero = static_cast<uint32_t>(
            recipe_.stored.has_zeros ? tensor.scales.zeros[static_cast<size_t>(row * tensor.scales.groups + group)]
                                     : recipe_.stored.default_zero());
        words[static_cast<size_t>(group * width + row / per_word_)] |= ((zero - 1) & mask) << (row % per_word_ * bits_);
      }
    }
    return words;
  }

  std::vector<uint16_t> TransposeScales(const QuantizedTensor& tensor) const {
    const int64_t groups = NumGroups(tensor.columns);
    std::vector<uint16_t> scales(static_cast<size_t>(groups * tensor.rows));
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t row = 0; row < tensor.rows; ++row) {
        // Exact: the scales of these formats are float16 values.
        scales[static_cast<size_t>(group * tensor.rows + row)] =
            Float16FromFloat(tensor.scales.values[static_cast<size_t>(row * tensor.scales.groups + group)]);
      }
    }
    return scales;
  }

  const QuantizationRecipe recipe_;
  const int64_t bits_;
  const int64_t per_word_;  // codes in a word
};

}  // namespace

std::unique_ptr<WeightEncoder> CreateGptqEncoder(const QuantizationRecipe& recipe) {
  CHECK(recipe.stored.format == WeightFormat::kInt4 || recipe.stored.format == WeightFormat::kInt8);
  return std::make_unique<GptqEncoder>(recipe);
}

}  // namespace switchyard
