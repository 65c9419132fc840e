#include "engine/request_validation.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace switchyard {
namespace {

struct Range {
  absl::string_view field;
  double value;
  double low;
  double high;
  bool low_excluded = false;
};

absl::Status CheckRange(const Range& range) {
  const bool above = range.low_excluded ? range.value > range.low : range.value >= range.low;
  if (std::isfinite(range.value) && above && range.value <= range.high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(range.field, " is ", range.value, "; it must be ",
                                                 range.low_excluded ? "greater than " : "at least ", range.low,
                                                 " and at most ", range.high));
}

absl::Status CheckTokenId(absl::string_view field, int64_t id, int64_t vocab_size) {
  if (id >= 0 && id < vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " has token id ", id, "; the vocabulary has ids 0 to ", vocab_size - 1));
}

absl::Status CheckPrompt(const GenerationRequest& request, const RequestLimits& limits) {
  if (request.prompt.empty()) return absl::InvalidArgumentError("prompt is empty; it needs at least one token");
  for (const int32_t id : request.prompt) {
    absl::Status status = CheckTokenId("prompt", id, limits.vocab_size);
    if (!status.ok()) return status;
  }
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  // A request that generates needs room for one token more.
  const int64_t room = request.stop.max_tokens > 0 ? limits.max_model_len - 1 : limits.max_model_len;
  if (length <= room) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("prompt has ", length, " tokens, but the model's context of ",
                                                 limits.max_model_len, " leaves room for ", room,
                                                 "; shorten the prompt or raise --max-model-len"));
}

absl::Status CheckStops(const GenerationRequest& request, const RequestLimits& limits) {
  const StopParams& stop = request.stop;
  if (stop.max_tokens < 0 || (stop.max_tokens == 0 && request.num_prompt_logprobs < 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens is ", stop.max_tokens, "; it must be at least 1 (0 only together with prompt log-probabilities)"));
  }
  if (stop.min_tokens < 0 || stop.min_tokens > stop.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_tokens is ", stop.min_tokens, "; it must be from 0 to max_tokens, ", stop.max_tokens));
  }
  for (const int32_t id : stop.token_ids) {
    absl::Status status = CheckTokenId("stop_token_ids", id, limits.vocab_size);
    if (!status.ok()) return status;
  }
  if (stop.strings.size() > kMaxStopStrings) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop has ", stop.strings.size(), " strings; the limit is ", kMaxStopStrings));
  }
  for (const std::string& text : stop.strings) {
    if (!text.empty() && text.size() <= kMaxStopStringBytes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("stop has a string of ", text.size(), " bytes; it must have 1 to ", kMaxStopStringBytes));
  }
  if (!stop.strings.empty() && (!limits.has_text || !request.detokenize)) {
    return absl::InvalidArgumentError(
        "stop has strings, but no text is produced here; use stop_token_ids, or a model directory with a tokenizer");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const GenerationRequest& request, const RequestLimits& limits) {
  const SamplingParams& sampling = request.sampling;
  const Range ranges[] = {
      {.field = "temperature", .value = sampling.temperature, .low = 0, .high = 2},
      {.field = "top_p", .value = sampling.top_p, .low = 0, .high = 1, .low_excluded = true},
      {.field = "min_p", .value = sampling.min_p, .low = 0, .high = 1},
      {.field = "top_k", .value = static_cast<double>(sampling.top_k), .low = 0, .high = 2147483647},
      {.field = "presence_penalty", .value = sampling.presence_penalty, .low = -2, .high = 2},
      {.field = "frequency_penalty", .value = sampling.frequency_penalty, .low = -2, .high = 2},
      {.field = "repetition_penalty", .value = sampling.repetition_penalty, .low = 0, .high = 10, .low_excluded = true},
      {.field = "logprobs", .value = static_cast<double>(request.num_logprobs), .low = -1, .high = kMaxTopLogProbs},
      {.field = "prompt_logprobs",
       .value = static_cast<double>(request.num_prompt_logprobs),
       .low = -1,
       .high = kMaxTopLogProbs},
  };
  for (const Range& range : ranges) {
    absl::Status status = CheckRange(range);
    if (!status.ok()) return status;
  }
  for (const auto& [id, bias] : sampling.logit_bias) {
    absl::Status status = CheckTokenId("logit_bias", id, limits.vocab_size);
    if (status.ok()) status = CheckRange({.field = "logit_bias", .value = bias, .low = -100, .high = 100});
    if (!status.ok()) return status;
  }
  for (const std::vector<int32_t>* ids : {&request.rules.allowed_ids, &request.rules.first_tokens}) {
    for (const int32_t id : *ids) {
      absl::Status status = CheckTokenId("allowed_token_ids", id, limits.vocab_size);
      if (!status.ok()) return status;
    }
  }
  if (request.cache_salt.size() > kMaxCacheSaltBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cache_salt has ", request.cache_salt.size(),
                                                   " bytes; the limit is ", kMaxCacheSaltBytes,
                                                   "; a random word of 43 letters is enough"));
  }
  absl::Status status = CheckPrompt(request, limits);
  if (!status.ok()) return status;
  return CheckStops(request, limits);
}

}  // namespace switchyard
