// One request in flight: its tokens, its pages, and the text that it has produced.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/constraint/token_rules.h"
#include "engine/page_allocator.h"
#include "engine/request.h"
#include "engine/text/detokenizer.h"
#include "engine/text/stop_matcher.h"

namespace switchyard {

// What the prefix cache (KvDomain) knows of a sequence's pages.
struct PrefixState {
  std::vector<uint64_t> hashes;  // of full pages; stays right as long as the tokens do
  int64_t num_shared = 0;        // pages that were there when it was admitted
  int64_t num_entered = 0;       // pages, from the first on, that others can find
  bool is_closed = false;        // no more are entered
};

// Belongs to the engine's thread; so does `on_update`, which is called from within AddScores, AddToken and Fail.
class Sequence {
 public:
  // The request is one that Engine::Submit accepts; CHECKs that its prompt is not empty and that it asks for tokens or
  // for prompt scores. `tokenizer` is borrowed and may be null (no text). `eos_ids` end the text unless the request
  // ignores them. `max_length` is the model's context. `seed` is the request's or the engine's.
  Sequence(GenerationRequest request, UpdateCallback on_update, const Tokenizer* tokenizer,
           std::vector<int32_t> eos_ids, int64_t max_length, uint64_t seed, absl::Time submitted);

  const GenerationRequest& request() const { return request_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }  // prompt, then generated
  int64_t num_prompt_tokens() const { return static_cast<int64_t>(request_.prompt.size()); }
  int64_t num_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t num_generated() const { return num_tokens() - num_prompt_tokens(); }
  // The most tokens whose keys and values it may come to hold; that is all but the last, which nothing follows.
  int64_t max_cached_tokens() const;
  bool finished() const { return finish_reason_.has_value(); }

  // Scheduling state, kept by the scheduler.
  int32_t owner = 0;         // KV domain
  int64_t num_computed = 0;  // tokens whose keys and values are in the pages
  PageLease pages;
  PrefixState prefix;
  // Tokens of the prompt whose keys and values were there when it first ran; for Usage.
  int64_t num_cached_tokens = 0;
  absl::Time first_scheduled = absl::InfinitePast();
  bool has_run() const { return first_scheduled != absl::InfinitePast(); }

  // How to draw the token after all of tokens(). Depends on tokens() and the request only, so that a sequence that is
  // computed again after a preemption draws what it would have drawn.
  const SamplingRow& NextSamplingRow() const { return next_row_; }
  // Prompt positions [num_scored, num_prompt_tokens) still want a score, in order: position p is scored against token
  // p + 1, the last one against nothing.
  bool WantsScores() const { return request_.num_prompt_logprobs >= 0; }
  int64_t num_scored() const { return num_scored_; }
  ScoringRow ScoringRowAt(int64_t position) const;
  // False for a request that asks for prompt log-probabilities only.
  bool WantsTokens() const { return request_.stop.max_tokens > 0; }

  // Results of a step, scores before tokens. Each calls on_update if there is something to say; the update with
  // `finish` is the last, and what is added later is ignored.
  void AddScores(std::vector<ScoredToken> scores, absl::Time now);
  void AddToken(SampledToken token, absl::Time now, std::vector<int16_t> experts = {});
  // `reason` is kAborted or kError.
  void Fail(FinishReason reason, absl::Status status, absl::Time now);

  absl::Time submitted() const { return submitted_; }
  absl::Time first_token_time() const { return first_token_; }
  absl::Time last_token_time() const { return last_token_; }
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }
  // It failed because a row of logits was not numbers, for no reason that its request gives.
  bool has_bad_numbers() const { return has_bad_numbers_; }

 private:
  bool IsStopId(int32_t id) const;
  std::vector<int32_t> EndIds() const;
  std::vector<LogitBias> Biases(bool forbid_stops) const;
  void CountOutput(int32_t id);
  void AppendText(std::string_view text, RequestUpdate& update);
  void Finish(RequestUpdate update, FinishReason reason, absl::Time now);
  void Send(RequestUpdate update, absl::Time now);

  const GenerationRequest request_;
  const UpdateCallback on_update_;
  const std::vector<int32_t> eos_ids_;
  const int64_t max_length_;
  const absl::Time submitted_;

  std::vector<int32_t> tokens_;
  SamplingRow next_row_;
  TokenRuleState rules_;
  absl::Status rules_status_;  // why no further token can be drawn
  int64_t num_scored_ = 0;
  std::vector<PromptLogProb> prompt_logprobs_;  // until they are sent
  std::optional<Detokenizer> detokenizer_;      // none: no text
  StopMatcher stop_matcher_;
  std::optional<FinishReason> finish_reason_;
  bool has_bad_numbers_ = false;
  absl::Time first_token_ = absl::InfinitePast();
  absl::Time last_token_ = absl::InfinitePast();
};

}  // namespace switchyard
