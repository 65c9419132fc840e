#include "engine/sequence.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// Ascending ids, as counted in the prompt; nothing is counted for requests without penalties, and the prompt only for
// the repetition penalty, since the others look at the output alone.
std::vector<TokenCount> CountPrompt(const GenerationRequest& request) {
  std::vector<TokenCount> counts;
  if (request.sampling.repetition_penalty == 1.0f) return counts;
  std::vector<int32_t> ids = request.prompt;
  std::sort(ids.begin(), ids.end());
  for (const int32_t id : ids) {
    if (counts.empty() || counts.back().id != id) counts.push_back({.id = id});
    ++counts.back().in_prompt;
  }
  return counts;
}

bool HasPenalties(const SamplingParams& sampling) {
  return sampling.repetition_penalty != 1.0f || sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
}

}  // namespace

Sequence::Sequence(GenerationRequest request, UpdateCallback on_update, const Tokenizer* tokenizer,
                   std::vector<int32_t> eos_ids, int64_t max_length, uint64_t seed, absl::Time submitted)
    : request_(std::move(request)),
      on_update_(std::move(on_update)),
      eos_ids_(std::move(eos_ids)),
      max_length_(max_length),
      submitted_(submitted),
      tokens_(request_.prompt),
      rules_(request_.rules, EndIds()),
      stop_matcher_(request_.stop.strings, request_.stop.include_stop_string) {
  CHECK(!request_.prompt.empty());
  CHECK(WantsTokens() || WantsScores());
  CHECK(static_cast<bool>(on_update_));
  const SamplingParams& sampling = request_.sampling;
  next_row_ = {.temperature = sampling.temperature,
               .top_k = sampling.top_k,
               .top_p = sampling.top_p,
               .min_p = sampling.min_p,
               .repetition_penalty = sampling.repetition_penalty,
               .presence_penalty = sampling.presence_penalty,
               .frequency_penalty = sampling.frequency_penalty,
               .seed = seed,
               .draw = 0,
               .num_top_logprobs = request_.num_logprobs,
               .counts = CountPrompt(request_),
               .biases = Biases(request_.stop.min_tokens > 0)};
  if (WantsTokens()) rules_status_ = rules_.Prepare();
  next_row_.allowed = rules_.allowed();
  if (tokenizer != nullptr && request_.detokenize && WantsTokens()) {
    const std::vector<int32_t> context = request_.text_continues_prompt ? request_.prompt : std::vector<int32_t>();
    detokenizer_.emplace(tokenizer, context, request_.skip_special_tokens);
  }
}

int64_t Sequence::max_cached_tokens() const {
  const int64_t longest = std::min(num_prompt_tokens() + request_.stop.max_tokens, max_length_);
  return std::max(num_prompt_tokens(), longest - 1);
}

std::vector<int32_t> Sequence::EndIds() const {
  std::vector<int32_t> ids = request_.stop.token_ids;
  if (!request_.stop.ignore_eos) ids.insert(ids.end(), eos_ids_.begin(), eos_ids_.end());
  return ids;
}

bool Sequence::IsStopId(int32_t id) const {
  const auto contains = [id](const std::vector<int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  return contains(request_.stop.token_ids) || (!request_.stop.ignore_eos && contains(eos_ids_));
}

std::vector<LogitBias> Sequence::Biases(bool forbid_stops) const {
  std::map<int32_t, float> biases = request_.sampling.logit_bias;
  if (forbid_stops) {
    constexpr float kForbidden = -std::numeric_limits<float>::infinity();
    for (const int32_t id : eos_ids_) biases[id] = kForbidden;
    for (const int32_t id : request_.stop.token_ids) biases[id] = kForbidden;
  }
  std::vector<LogitBias> list;
  list.reserve(biases.size());
  for (const auto& [id, bias] : biases) list.push_back({.id = id, .bias = bias});
  return list;
}

void Sequence::CountOutput(int32_t id) {
  std::vector<TokenCount>& counts = next_row_.counts;
  auto count = std::lower_bound(counts.begin(), counts.end(), id,
                                [](const TokenCount& entry, int32_t wanted) { return entry.id < wanted; });
  if (count == counts.end() || count->id != id) count = counts.insert(count, {.id = id});
  ++count->in_output;
}

ScoringRow Sequence::ScoringRowAt(int64_t position) const {
  CHECK(position >= 0 && position < num_prompt_tokens());
  if (position + 1 == num_prompt_tokens()) return {.target = -1, .num_top_logprobs = 0};
  return {.target = request_.prompt[static_cast<size_t>(position) + 1],
          .num_top_logprobs = request_.num_prompt_logprobs};
}

void Sequence::AddScores(std::vector<ScoredToken> scores, absl::Time now) {
  if (finished() || scores.empty()) return;
  CHECK(WantsScores());
  CHECK_LE(num_scored_ + static_cast<int64_t>(scores.size()), num_prompt_tokens());
  RequestUpdate update;
  for (ScoredToken& score : scores) {
    if (score.top1 < 0) {
      has_bad_numbers_ = true;
      return Fail(FinishReason::kError,
                  absl::InternalError(absl::StrCat("request '", request_.id, "': the model's logits at position ",
                                                   num_scored_, " of the prompt are not numbers")),
                  now);
    }
    if (++num_scored_ < num_prompt_tokens()) {
      prompt_logprobs_.push_back({.logprob = score.logprob, .top1 = score.top1, .top = std::move(score.top)});
    } else {
      update.prompt_top1 = score.top1;
    }
  }
  if (num_scored_ < num_prompt_tokens()) return;
  update.prompt_logprobs = std::move(prompt_logprobs_);
  if (WantsTokens()) {
    Send(std::move(update), now);
  } else {
    Finish(std::move(update), FinishReason::kLength, now);
  }
}

void Sequence::AddToken(SampledToken token, absl::Time now, std::vector<int16_t> experts) {
  if (finished()) return;
  CHECK(WantsTokens());
  if (WantsScores()) CHECK_EQ(num_scored_, num_prompt_tokens());
  if (!rules_status_.ok()) return Fail(FinishReason::kError, rules_status_, now);
  if (rules_.finished()) return Finish({}, FinishReason::kStop, now);  // only the empty text is allowed
  if (token.id < 0) {
    has_bad_numbers_ = next_row_.allowed == nullptr && next_row_.biases.empty();
    return Fail(FinishReason::kError,
                absl::InternalError(absl::StrCat("request '", request_.id, "': generated token ", num_generated(),
                                                 " cannot be drawn: its logits are not numbers or all forbidden")),
                now);
  }
  if (num_generated() == 0) first_token_ = now;
  last_token_ = now;
  tokens_.push_back(token.id);
  next_row_.draw = static_cast<uint64_t>(num_generated());
  if (HasPenalties(request_.sampling)) CountOutput(token.id);
  if (num_generated() == request_.stop.min_tokens) next_row_.biases = Biases(/*forbid_stops=*/false);

  RequestUpdate update;
  update.tokens.push_back(
      {.id = token.id, .logprob = token.logprob, .top = std::move(token.top), .experts = std::move(experts)});
  if (IsStopId(token.id)) {
    update.matched_stop_id = token.id;
    return Finish(std::move(update), FinishReason::kStop, now);
  }
  rules_status_ = rules_.Accept(token.id);
  if (!rules_status_.ok()) return Fail(FinishReason::kError, rules_status_, now);
  next_row_.allowed = rules_.allowed();
  if (detokenizer_) AppendText(detokenizer_->Append(token.id), update);
  if (!update.matched_stop.empty() || rules_.finished()) return Finish(std::move(update), FinishReason::kStop, now);
  if (num_generated() >= request_.stop.max_tokens || static_cast<int64_t>(tokens_.size()) >= max_length_) {
    return Finish(std::move(update), FinishReason::kLength, now);
  }
  Send(std::move(update), now);
}

void Sequence::Fail(FinishReason reason, absl::Status status, absl::Time now) {
  if (finished()) return;
  CHECK(reason == FinishReason::kAborted || reason == FinishReason::kError);
  RequestUpdate update;
  update.status = std::move(status);
  Finish(std::move(update), reason, now);
}

void Sequence::AppendText(std::string_view text, RequestUpdate& update) {
  StopMatcher::Result result = stop_matcher_.Append(text);
  update.text += result.text;
  if (result.matched) update.matched_stop = *std::move(result.matched);
}

void Sequence::Finish(RequestUpdate update, FinishReason reason, absl::Time now) {
  const bool is_complete = reason == FinishReason::kStop || reason == FinishReason::kLength;
  if (is_complete && detokenizer_ && update.matched_stop.empty()) {
    AppendText(detokenizer_->Finish(), update);
    if (update.matched_stop.empty()) {
      update.text += stop_matcher_.Finish();
    } else {  // the replacement of an incomplete character completed a stop string
      reason = FinishReason::kStop;
    }
  }
  finish_reason_ = reason;
  update.finish = reason;
  Send(std::move(update), now);
}

void Sequence::Send(RequestUpdate update, absl::Time now) {
  update.usage = {.prompt_tokens = static_cast<int32_t>(num_prompt_tokens()),
                  .completion_tokens = static_cast<int32_t>(num_generated()),
                  .cached_tokens = static_cast<int32_t>(num_cached_tokens)};
  const absl::Time scheduled = has_run() ? first_scheduled : now;
  const bool has_token = num_generated() > 0;
  update.timings = {.queue = scheduled - submitted_,
                    .prefill = (has_token ? first_token_ : now) - scheduled,
                    .decode = has_token ? last_token_ - first_token_ : absl::ZeroDuration()};
  on_update_(std::move(update));
}

}  // namespace switchyard
