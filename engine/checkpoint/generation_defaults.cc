#include "engine/checkpoint/generation_defaults.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/json_fields.h"

namespace switchyard {
namespace {

// Book-keeping, or settings that every request states for itself.
constexpr absl::string_view kHarmless[] = {
    "_from_model_config",   "bos_token_id",         "do_sample",     "max_length",
    "max_new_tokens",       "pad_token_id",         "use_cache",     "output_attentions",
    "transformers_version", "output_hidden_states", "output_scores", "return_dict_in_generate",
    "trust_remote_code",
};

std::optional<float> ToFloat(std::optional<double> value) {
  return value ? std::optional<float>(static_cast<float>(*value)) : std::nullopt;
}

}  // namespace

absl::StatusOr<GenerationDefaults> ParseGenerationConfig(const std::string& file, const nlohmann::json& config,
                                                         int64_t vocab_size, std::vector<std::string>& warnings) {
  try {
    JsonFields fields(file, config);
    GenerationDefaults defaults;
    if (auto eos = fields.TokenIds("eos_token_id", vocab_size)) defaults.eos_token_ids = *std::move(eos);
    defaults.temperature = ToFloat(fields.Number("temperature", {.min = 0, .max = 1e6}));
    defaults.top_p = ToFloat(fields.Number("top_p", {.min = 0, .max = 1, .min_allowed = false}));
    const std::optional<int64_t> top_k =
        fields.Integer("top_k", {.min = 0, .max = std::numeric_limits<int32_t>::max()});
    if (top_k) defaults.top_k = static_cast<int32_t>(*top_k);
    defaults.repetition_penalty =
        ToFloat(fields.Number("repetition_penalty", {.min = 0, .max = 1e6, .min_allowed = false}));
    if (!fields.status().ok()) return fields.status();
    for (const std::string& name : fields.Unread()) {
      if (std::find(std::begin(kHarmless), std::end(kHarmless), name) != std::end(kHarmless)) continue;
      warnings.push_back(absl::StrCat(file, ": ", JsonText(name), " is not supported as a default and is ignored"));
    }
    return defaults;
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", e.what()));
  }
}

}  // namespace switchyard
