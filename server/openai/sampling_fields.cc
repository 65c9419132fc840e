#include "server/openai/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

constexpr size_t kMaxStopTokenIds = 256;

int64_t LastId(const ModelContext& model) { return model.info().spec.vocab_size - 1; }

void ReadLogitBias(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  const json* biases = fields.Find("logit_bias");
  if (biases == nullptr) return;
  if (!biases->is_object()) return fields.FailType("logit_bias", "an object of token ids to numbers", *biases);
  FieldReader entries(*biases, "logit_bias.");
  for (const auto& [key, value] : biases->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > LastId(model)) {
      return fields.Fail("logit_bias",
                         absl::StrCat("has the key \"", key.substr(0, 40),
                                      "\", which is no token id of this model (0 to ", LastId(model), ")"));
    }
    if (const auto bias = entries.Float(key, -100, 100); bias.has_value())
      plan->request.sampling.logit_bias[id] = *bias;
  }
  fields.TakeError(entries);
}

void ReadStopStrings(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  const json* stop = fields.Find("stop");
  if (stop == nullptr) return;
  std::vector<std::string>& strings = plan->request.stop.strings;
  const json list = stop->is_string() ? json::array({*stop}) : *stop;
  if (!list.is_array()) return fields.FailType("stop", "a string or an array of strings", *stop);
  const Limits& limits = *model.limits;
  if (list.size() > static_cast<size_t>(limits.max_stop_strings)) {
    return fields.Fail("stop",
                       absl::StrCat("has ", list.size(), " strings; at most ", limits.max_stop_strings, " are taken"));
  }
  for (const json& entry : list) {
    if (!entry.is_string()) return fields.FailType("stop", "a string or an array of strings", entry);
    const std::string text = entry.get<std::string>();
    if (text.empty())
      return fields.Fail("stop", "holds an empty string, which would end every text at once; remove it");
    if (text.size() > static_cast<size_t>(limits.max_stop_string_bytes)) {
      return fields.Fail("stop", absl::StrCat("holds a string of ", text.size(), " bytes; the limit is ",
                                              limits.max_stop_string_bytes));
    }
    strings.push_back(text);
  }
  if (!strings.empty() && model.tokenizer() == nullptr) {
    fields.Fail("stop", "needs a tokenizer, and this model has none; use stop_token_ids");
  }
}

}  // namespace

void ReadSampling(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  const GenerationDefaults& defaults = model.info().defaults;
  SamplingParams& sampling = plan->request.sampling;
  sampling.temperature = fields.Float("temperature", 0, 2).value_or(defaults.temperature.value_or(1.0f));
  sampling.top_p = fields.Float("top_p", 0, 1, /*above_min=*/true).value_or(defaults.top_p.value_or(1.0f));
  // Some clients write "off" as -1, others as 0.
  const int64_t max_int = std::numeric_limits<int32_t>::max();
  const int64_t top_k = fields.Int("top_k", -1, max_int).value_or(defaults.top_k.value_or(0));
  sampling.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));
  sampling.min_p = fields.Float("min_p", 0, 1).value_or(0.0f);
  sampling.presence_penalty = fields.Float("presence_penalty", -2, 2).value_or(0.0f);
  sampling.frequency_penalty = fields.Float("frequency_penalty", -2, 2).value_or(0.0f);
  sampling.repetition_penalty = fields.Float("repetition_penalty", 0, 10, /*above_min=*/true)
                                    .value_or(defaults.repetition_penalty.value_or(1.0f));
  const auto seed = fields.Int("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (seed.has_value()) sampling.seed = static_cast<uint64_t>(*seed);
  ReadLogitBias(fields, model, plan);
}

void ReadStops(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  StopParams& stop = plan->request.stop;
  ReadStopStrings(fields, model, plan);
  if (const json* ids = fields.Find("stop_token_ids"); ids != nullptr) {
    stop.token_ids = fields.Ints("stop_token_ids", *ids, 0, LastId(model));
    if (stop.token_ids.size() > kMaxStopTokenIds) {
      fields.Fail("stop_token_ids",
                  absl::StrCat("has ", stop.token_ids.size(), " ids; at most ", kMaxStopTokenIds, " are taken"));
    }
  }
  stop.min_tokens = static_cast<int32_t>(fields.Int("min_tokens", 0, std::numeric_limits<int32_t>::max()).value_or(0));
  stop.ignore_eos = fields.Bool("ignore_eos").value_or(false);
  stop.include_stop_string = fields.Bool("include_stop_str_in_output").value_or(false);
  plan->request.skip_special_tokens = fields.Bool("skip_special_tokens").value_or(true);
  plan->request.detokenize = model.tokenizer() != nullptr;
}

void ReadStreaming(FieldReader& fields, GenerationPlan* plan) {
  plan->stream = fields.Bool("stream").value_or(false);
  const json* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.FailType("stream_options", "an object", *options);
  if (!plan->stream) return fields.Fail("stream_options", "is allowed only together with \"stream\": true");
  FieldReader nested(*options, "stream_options.");
  plan->include_usage = nested.Bool("include_usage").value_or(false);
  plan->continuous_usage = nested.Bool("continuous_usage_stats").value_or(false);
  for (const std::string& name : nested.UnreadNames()) plan->without_effect.push_back("stream_options." + name);
  fields.TakeError(nested);
}

void ReadChoices(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  plan->n = static_cast<int32_t>(fields.Int("n", 1, model.limits->max_choices_per_prompt).value_or(1));
  plan->candidates =
      static_cast<int32_t>(fields.Int("best_of", 1, model.limits->max_choices_per_prompt).value_or(plan->n));
  if (plan->candidates < plan->n) {
    fields.Fail("best_of",
                absl::StrCat("is ", plan->candidates, ", less than n = ", plan->n, "; raise it or leave it out"));
  }
  if (plan->candidates > plan->n && plan->stream) {
    fields.Fail("best_of", absl::StrCat("is ", plan->candidates, ", more than n = ", plan->n,
                                        ", and the best are known only at the end; send \"stream\": false"));
  }
  constexpr auto kInt = std::numeric_limits<int32_t>();
  plan->request.priority = static_cast<int32_t>(fields.Int("priority", kInt.min(), kInt.max()).value_or(0));
  plan->request.cache_salt = fields.String("cache_salt").value_or("");
  plan->return_token_ids = fields.Bool("return_token_ids").value_or(false) || model.tokenizer() == nullptr;
  plan->request.return_experts = fields.Bool("return_expert_ids").value_or(false);
  plan->expert_ids_per_layer = plan->request.return_experts ? model.info().spec.experts_per_token : 0;
  plan->tokens_as_ids = fields.Bool("return_tokens_as_token_ids").value_or(false);
  plan->num_prompt_logprobs =
      static_cast<int32_t>(fields.Int("prompt_logprobs", 0, model.limits->max_logprobs).value_or(-1));
  if (plan->num_prompt_logprobs >= 0 && plan->stream) {
    fields.Fail("prompt_logprobs", "is given in whole answers only; send \"stream\": false");
  }
}

void SetLogProbs(GenerationPlan* plan) {
  GenerationRequest& request = plan->request;
  const bool ranks_candidates = plan->candidates > plan->n;
  request.num_logprobs = std::max(plan->num_logprobs, ranks_candidates ? 0 : -1);
  request.num_prompt_logprobs = std::max(plan->num_prompt_logprobs, plan->echo ? plan->num_logprobs : -1);
}

void SetLengths(FieldReader& fields, const ModelContext& model, const LengthFields& lengths, GenerationPlan* plan) {
  if (!fields.ok()) return;
  const int64_t choices = static_cast<int64_t>(plan->prompts.size()) * plan->candidates;
  if (choices > model.limits->max_choices) {
    return fields.Fail(
        lengths.prompt_name,
        absl::StrCat("has ", plan->prompts.size(), " prompts with ", plan->candidates > plan->n ? "best_of" : "n",
                     " = ", plan->candidates, " each, ", choices, " completions in all; the limit is ",
                     model.limits->max_choices, " per request: send several requests"));
  }
  const int64_t context = model.info().max_model_len;
  int64_t longest = 0;
  for (const Prompt& prompt : plan->prompts) longest = std::max(longest, static_cast<int64_t>(prompt.ids.size()));
  const int64_t asked = lengths.max_tokens.value_or(1);
  if (longest + asked > context) {
    const bool prompt_fits = longest < context;
    fields.Fail(prompt_fits ? lengths.max_tokens_name : lengths.prompt_name,
                absl::StrCat("asks for too much: this model's context is ", context, " tokens, and the prompt's ",
                             longest, " with ", asked, " to generate are ", longest + asked,
                             "; shorten the prompt or lower ", lengths.max_tokens_name));
    // OpenAI's clients recognise an overflow by this code.
    return fields.SetCode("context_length_exceeded");
  }
  StopParams& stop = plan->request.stop;
  stop.max_tokens =
      static_cast<int32_t>(lengths.max_tokens.value_or(std::min(lengths.default_max_tokens, context - longest)));
  if (stop.min_tokens > stop.max_tokens) {
    fields.Fail("min_tokens",
                absl::StrCat("is ", stop.min_tokens, ", more than the ", stop.max_tokens,
                             " tokens that are generated at most; lower it or raise ", lengths.max_tokens_name));
  }
}

}  // namespace switchyard::openai
