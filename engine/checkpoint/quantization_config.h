// How a checkpoint says that another tool quantised it: config.json's quantization_config, or the quantize_config.json
// of older GPTQ uploads.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/quantization/quantization.h"

namespace switchyard {

// In which form a file holds a weight.
enum class WeightStorage { kDense, kBitsAndBytes, kGptq, kAwq };

// "bitsandbytes", "gptq", "awq", as quant_method spells it; "dense".
absl::string_view Name(WeightStorage storage);

// The same for all quantised weights of a checkpoint; which ones are, the tensors present decide.
struct QuantizationConfig {
  std::string place;                      // for messages: "dir/config.json: quantization_config"
  WeightStorage storage;                  // not kDense
  int64_t bits = 4;                       // of a code: kGptq 4 or 8; 4 otherwise
  int64_t group_size = 64;                // kGptq, kAwq: -1 (one group per row) or a multiple of 64; kBitsAndBytes 64
  bool symmetric = true;                  // kGptq, kAwq: all zero points are in the middle
  bool act_order = false;                 // kGptq: desc_act
  bool zeros_minus_one = false;           // kGptq: checkpoint_format "gptq", not "gptq_v2"
  bool double_quantized = false;          // kBitsAndBytes
  bool lm_head = false;                   // whether the output projection is said to be quantised
  std::vector<std::string> kept_modules;  // said to be dense: modules_to_not_convert, llm_int8_skip_modules

  // Of the file, for rows of `in_features`.
  int64_t FileGroupSize(int64_t in_features) const { return group_size == -1 ? in_features : group_size; }
  // What such rows are in the neutral form (quantized_tensor.h): groups of the file larger than 128 are several with
  // the same scale. INVALID_ARGUMENT if no backend can hold them.
  absl::StatusOr<Quantization> Neutral(int64_t in_features) const;
  // Whether kept_modules names the module of the weight `name`, by one or several consecutive parts of its path.
  bool Keeps(absl::string_view name) const;
};

// `config` is the object at `place`. Without a quant_method it is bitsandbytes' where it has load_in_4bit or
// load_in_8bit, else GPTQ's. INVALID_ARGUMENT names `place`, the field, its value and the remedy: every method and
// variant that is not read is refused by name. Fields that are not known to be harmless end in `warnings`.
absl::StatusOr<QuantizationConfig> ParseQuantizationConfig(const std::string& place, const nlohmann::json& config,
                                                           std::vector<std::string>& warnings);

}  // namespace switchyard
