#include "engine/checkpoint/quantization_config.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/json_fields.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxGroup = int64_t{1} << 20;
constexpr int64_t kSmallGroup = 64;
constexpr int64_t kLargeGroup = 128;
constexpr absl::string_view kRemedy = "load the model's bfloat16 or float16 checkpoint with --quantize instead";

// How the weights were found, or what other programs do with them.
constexpr absl::string_view kHarmlessForGptq[] = {
    "_model_file_base_name",
    "act_group_aware",
    "auto_mapping_dict",
    "awq_gemm_checkpoint",
    "backend",
    "batch_size",
    "block_name_to_quantize",
    "cache_block_outputs",
    "damp_auto_increment",
    "damp_percent",
    "dataset",
    "disable_exllama",
    "exllama_config",
    "max_input_length",
    "meta",
    "model_file_base_name",
    "model_name_or_path",
    "model_seqlen",
    "module_name_preceding_first_block",
    "modules_in_block_to_quantize",
    "mse",
    "pad_token_id",
    "static_groups",
    "tokenizer",
    "true_sequential",
    "use_cuda_fp16",
    "use_exllama",
};
constexpr absl::string_view kHarmlessForAwq[] = {
    "do_fuse",
    "exllama_config",
    "fuse_max_seq_len",
    "modules_to_fuse",
};
constexpr absl::string_view kHarmlessForBitsAndBytes[] = {
    "bnb_4bit_compute_dtype",
    "llm_int8_enable_fp32_cpu_offload",
    "llm_int8_has_fp16_weight",
    "llm_int8_threshold",
};

void ReadKeptModules(JsonFields& fields, absl::string_view name, QuantizationConfig& config) {
  const nlohmann::json* const list = fields.Find(name);
  if (list == nullptr) return;
  if (!list->is_array()) return fields.Fail(name, absl::StrCat("is ", JsonText(*list), "; it must be a list"));
  for (const nlohmann::json& module : *list) {
    if (!module.is_string() || module.get_ref<const std::string&>().empty()) {
      return fields.Fail(name, absl::StrCat("contains ", JsonText(module), "; it must list names of modules"));
    }
    config.kept_modules.push_back(module.get<std::string>());
  }
}

void ReadGroupSize(JsonFields& fields, QuantizationConfig& config) {
  config.group_size = fields.RequiredInteger("group_size", {.min = -1, .max = kMaxGroup});
  if (config.group_size == -1 || (config.group_size > 0 && config.group_size % kSmallGroup == 0)) return;
  fields.Fail("group_size", absl::StrCat("is ", config.group_size,
                                         "; only -1, 64, 128 and larger multiples of 64 are read: ", kRemedy));
}

// gptqmodel's exceptions for single modules: one that leaves them dense changes nothing for the others.
void RefuseDynamic(JsonFields& fields) {
  const nlohmann::json* const dynamic = fields.Find("dynamic");
  if (dynamic == nullptr || (dynamic->is_boolean() && !dynamic->get<bool>())) return;
  if (!dynamic->is_object()) {
    return fields.Fail("dynamic", absl::StrCat("is ", JsonText(*dynamic), "; it must be an object"));
  }
  for (const auto& [pattern, change] : dynamic->items()) {
    if (absl::StartsWith(pattern, "-:")) continue;
    return fields.Fail("dynamic", absl::StrCat("quantises ", JsonText(pattern), " in another way: ", JsonText(change),
                                               "; modules that differ are not supported: ", kRemedy));
  }
}

void ReadGptqFormat(JsonFields& fields, QuantizationConfig& config) {
  const std::optional<std::string> newer = fields.String("format");
  const std::optional<std::string> older = fields.String("checkpoint_format");
  const std::string format = older.value_or(newer.value_or("gptq"));
  if (newer && *newer != format) {
    fields.Fail("format", absl::StrCat("is '", *newer, "' but checkpoint_format is '", format, "'"));
  }
  config.zeros_minus_one = format == "gptq";
  if (!config.zeros_minus_one && format != "gptq_v2") {
    fields.Fail(older ? "checkpoint_format" : "format",
                absl::StrCat("is '", format, "'; only 'gptq' and 'gptq_v2' are read: ", kRemedy));
  }
  if (fields.Boolean("is_marlin_format").value_or(false)) {
    fields.Fail("is_marlin_format", absl::StrCat("is true; weights in marlin's order are not read: ", kRemedy));
  }
  const std::string packed = fields.String("pack_dtype").value_or("int32");
  if (packed != "int32") {
    fields.Fail("pack_dtype", absl::StrCat("is '", packed, "'; only 'int32' is read: ", kRemedy));
  }
}

void ReadGptq(JsonFields& fields, QuantizationConfig& config) {
  config.bits = fields.RequiredInteger("bits", {.min = 1, .max = 32});
  if (config.bits != 4 && config.bits != 8) {
    fields.Fail("bits", absl::StrCat("is ", config.bits, "; only 4 and 8 bits are read of gptq: ", kRemedy));
  }
  ReadGroupSize(fields, config);
  config.symmetric = fields.Boolean("sym").value_or(true);
  config.act_order = fields.Boolean("desc_act").value_or(false);
  config.lm_head = fields.Boolean("lm_head").value_or(false);
  ReadGptqFormat(fields, config);
  RefuseDynamic(fields);
  ReadKeptModules(fields, "modules_to_not_convert", config);
}

void ReadAwq(JsonFields& fields, QuantizationConfig& config) {
  config.bits = fields.RequiredInteger("bits", {.min = 1, .max = 32});
  if (config.bits != 4) {
    fields.Fail("bits", absl::StrCat("is ", config.bits, "; only 4 bits are read of awq: ", kRemedy));
  }
  ReadGroupSize(fields, config);
  config.symmetric = !fields.Boolean("zero_point").value_or(true);
  config.lm_head = fields.Boolean("lm_head").value_or(false);
  const std::string version = fields.String("version").value_or("gemm");
  if (absl::AsciiStrToLower(version) != "gemm") {
    fields.Fail("version", absl::StrCat("is '", version, "'; of awq only the packing 'gemm' is read: ", kRemedy));
  }
  const std::string backend = fields.String("backend").value_or("autoawq");
  if (backend != "autoawq") {
    fields.Fail("backend", absl::StrCat("is '", backend, "'; of awq only autoawq's packing is read: ", kRemedy));
  }
  ReadKeptModules(fields, "modules_to_not_convert", config);
}

// transformers writes some fields twice, with an underscore before the name.
bool Flag(JsonFields& fields, absl::string_view name) {
  const bool hidden = fields.Boolean(absl::StrCat("_", name)).value_or(false);
  return fields.Boolean(name).value_or(hidden);
}

void ReadBitsAndBytes(JsonFields& fields, QuantizationConfig& config) {
  if (Flag(fields, "load_in_8bit")) {
    fields.Fail("load_in_8bit",
                absl::StrCat("is true; bitsandbytes' 8-bit weights (LLM.int8()) are not read: ", kRemedy));
  }
  if (!Flag(fields, "load_in_4bit")) {
    fields.Fail("load_in_4bit", absl::StrCat("is not true; only bitsandbytes' 4-bit weights are read: ", kRemedy));
  }
  // transformers' default is the one that we do not read.
  const std::string type = fields.String("bnb_4bit_quant_type").value_or("fp4");
  if (type != "nf4") {
    fields.Fail("bnb_4bit_quant_type", absl::StrCat("is '", type, "'; only 'nf4' is read: ", kRemedy));
  }
  config.double_quantized = fields.Boolean("bnb_4bit_use_double_quant").value_or(false);
  const std::string packed = fields.String("bnb_4bit_quant_storage").value_or("uint8");
  if (packed != "uint8") {
    fields.Fail("bnb_4bit_quant_storage", absl::StrCat("is '", packed, "'; only 'uint8' is read: ", kRemedy));
  }
  ReadKeptModules(fields, "llm_int8_skip_modules", config);
}

absl::StatusOr<QuantizationConfig> Parse(JsonFields& fields, std::vector<std::string>& warnings) {
  const bool is_bits_and_bytes = fields.Has("load_in_4bit") || fields.Has("load_in_8bit");
  const std::string newer = fields.String("method").value_or(is_bits_and_bytes ? "bitsandbytes" : "gptq");
  const std::string method = fields.String("quant_method").value_or(newer);
  QuantizationConfig config{.place = fields.place(), .storage = WeightStorage::kDense};
  std::span<const absl::string_view> harmless;
  if (method == Name(WeightStorage::kBitsAndBytes)) {
    config.storage = WeightStorage::kBitsAndBytes;
    harmless = kHarmlessForBitsAndBytes;
    ReadBitsAndBytes(fields, config);
  } else if (method == Name(WeightStorage::kGptq)) {
    config.storage = WeightStorage::kGptq;
    harmless = kHarmlessForGptq;
    ReadGptq(fields, config);
  } else if (method == Name(WeightStorage::kAwq)) {
    config.storage = WeightStorage::kAwq;
    harmless = kHarmlessForAwq;
    ReadAwq(fields, config);
  } else {
    fields.Fail("quant_method", absl::StrCat("is ", JsonText(method), "; only bitsandbytes (nf4), gptq (4 and 8 bits) ",
                                             "and awq (4 bits, gemm) are read: ", kRemedy));
  }
  if (!fields.status().ok()) return fields.status();
  for (const std::string& name : fields.Unread()) {
    if (std::find(harmless.begin(), harmless.end(), name) != harmless.end()) continue;
    warnings.push_back(absl::StrCat(fields.place(), ": ", JsonText(name), " is not a field of ", method,
                                    " that is known here, and is ignored"));
  }
  return config;
}

}  // namespace

absl::string_view Name(WeightStorage storage) {
  switch (storage) {
    case WeightStorage::kDense:
      return "dense";
    case WeightStorage::kBitsAndBytes:
      return "bitsandbytes";
    case WeightStorage::kGptq:
      return "gptq";
    case WeightStorage::kAwq:
      return "awq";
  }
  return "?";
}

absl::StatusOr<Quantization> QuantizationConfig::Neutral(int64_t in_features) const {
  Quantization neutral;
  if (storage == WeightStorage::kBitsAndBytes) {
    neutral = {.format = WeightFormat::kNf4, .group_size = kSmallGroup, .double_quantized = double_quantized};
  } else {
    const int64_t file_group = FileGroupSize(in_features);
    const bool is_one_group = file_group >= in_features;
    const bool is_large = group_size == kLargeGroup ||
                          ((group_size == -1 || group_size % kLargeGroup == 0) && in_features % kLargeGroup == 0);
    neutral = {.format = bits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4,
               .group_size = is_large ? kLargeGroup : kSmallGroup,
               .has_zeros = !symmetric,
               .reordered = act_order && !is_one_group};
  }
  const absl::Status valid = ValidateQuantization(neutral, in_features);
  if (!valid.ok()) return valid;
  return neutral;
}

bool QuantizationConfig::Keeps(absl::string_view name) const {
  const std::string path = absl::StrCat(".", absl::StripSuffix(name, ".weight"), ".");
  return std::any_of(kept_modules.begin(), kept_modules.end(), [&path](const std::string& module) {
    return absl::StrContains(path, absl::StrCat(".", module, "."));
  });
}

absl::StatusOr<QuantizationConfig> ParseQuantizationConfig(const std::string& place, const nlohmann::json& config,
                                                           std::vector<std::string>& warnings) {
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(place, " is ", JsonText(config), "; it must be an object"));
  }
  try {
    JsonFields fields(place, config);
    return Parse(fields, warnings);
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": ", e.what()));
  }
}

}  // namespace switchyard
