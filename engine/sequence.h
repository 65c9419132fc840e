// One request in flight: its tokens, its pages, and the text that it has produced.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/page_allocator.h"
#include "engine/request.h"
#include "engine/text/detokenizer.h"
#include "engine/text/stop_matcher.h"

namespace switchyard {

// Belongs to the engine's thread.
class Sequence {
 public:
  // `tokenizer` may be null (no text). `eos_ids` end the text unless the request ignores them. `max_length` is the
  // model's context. `seed` is the request's or the engine's.
  Sequence(GenerationRequest request, UpdateCallback on_update, const Tokenizer* tokenizer,
           std::vector<int32_t> eos_ids, int64_t max_length, uint64_t seed, absl::Time submitted);

  const GenerationRequest& request() const { return request_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }  // prompt, then generated
  int64_t num_prompt_tokens() const { return static_cast<int64_t>(request_.prompt.size()); }
  int64_t num_generated() const { return static_cast<int64_t>(tokens_.size()) - num_prompt_tokens(); }
  bool finished() const { return finished_; }

  // Scheduling state, kept by the scheduler.
  int32_t owner = 0;         // KV domain
  int64_t num_computed = 0;  // tokens whose keys and values are in the pages
  PageLease pages;
  absl::Time first_scheduled = absl::InfinitePast();

  // How to draw the token after all of tokens().
  SamplingRow NextSamplingRow() const;
  // Prompt positions [begin, end) that still want a score, in order: position p is scored against token p + 1.
  bool WantsScores() const { return request_.num_prompt_logprobs >= 0; }
  int64_t num_scored() const { return static_cast<int64_t>(prompt_scores_.size()); }
  ScoringRow ScoringRowAt(int64_t position) const;
  // False for a request that asks for prompt log-probabilities only.
  bool WantsTokens() const { return request_.stop.max_tokens > 0; }

  // Results of a step. Each calls on_update if there is something to say; the update with `finish` is the last.
  void AddScores(std::vector<ScoredToken> scores, absl::Time now);
  void AddToken(SampledToken token, absl::Time now);
  void Fail(FinishReason reason, absl::Status status, absl::Time now);

  absl::Time submitted() const { return submitted_; }
  absl::Time first_token_time() const { return first_token_; }
  absl::Time last_token_time() const { return last_token_; }
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }

 private:
  void Finish(RequestUpdate update, FinishReason reason, absl::Time now);
  void Send(RequestUpdate update, absl::Time now);
  bool IsStopId(int32_t id) const;

  const GenerationRequest request_;
  const UpdateCallback on_update_;
  const std::vector<int32_t> eos_ids_;
  const int64_t max_length_;
  const uint64_t seed_;
  const absl::Time submitted_;

  std::vector<int32_t> tokens_;
  std::vector<ScoredToken> prompt_scores_;
  std::optional<Detokenizer> detokenizer_;
  StopMatcher stop_matcher_;
  bool prompt_scores_sent_ = false;
  bool finished_ = false;
  std::optional<FinishReason> finish_reason_;
  absl::Time first_token_ = absl::InfinitePast();
  absl::Time last_token_ = absl::InfinitePast();
};

}  // namespace switchyard
