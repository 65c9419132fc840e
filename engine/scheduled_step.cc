#include "engine/scheduled_step.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {

ScoreRange ScoresAmong(const Sequence& sequence, int64_t num_tokens) {
  if (!sequence.WantsScores()) return {};
  return {.begin = std::max(sequence.num_computed, sequence.num_scored()),
          .end = std::min(sequence.num_computed + num_tokens, sequence.num_prompt_tokens())};
}

int64_t ChunkSize(const Sequence& sequence, int64_t max_tokens, int64_t max_score_rows) {
  const int64_t rest = sequence.num_tokens() - sequence.num_computed;
  CHECK_GT(rest, 0);
  const int64_t size = std::min(rest, max_tokens);
  const ScoreRange scores = ScoresAmong(sequence, size);
  if (scores.size() <= max_score_rows) return size;
  return scores.begin + max_score_rows - sequence.num_computed;
}

void ScheduledStep::Append(Sequence& sequence, int64_t num_tokens) {
  const int64_t begin = sequence.num_computed;
  const int64_t end = begin + num_tokens;
  const auto token_begin = static_cast<int32_t>(batch.tokens.size());
  const auto token_at = [&](int64_t position) { return token_begin + static_cast<int32_t>(position - begin); };
  batch.sequences.push_back({.owner = sequence.owner,
                             .token_begin = token_begin,
                             .num_tokens = static_cast<int32_t>(num_tokens),
                             .position = static_cast<int32_t>(begin),
                             .page_begin = static_cast<int32_t>(batch.pages.size()),
                             .num_pages = static_cast<int32_t>(sequence.pages.size())});
  sequences.push_back(&sequence);
  batch.tokens.insert(batch.tokens.end(), sequence.tokens().begin() + begin, sequence.tokens().begin() + end);
  batch.pages.insert(batch.pages.end(), sequence.pages.pages().begin(), sequence.pages.pages().end());
  const ScoreRange scores = ScoresAmong(sequence, num_tokens);
  for (int64_t position = scores.begin; position < scores.end; ++position) {
    batch.scores.push_back({.token = token_at(position), .row = sequence.ScoringRowAt(position)});
    sequence_of_score.push_back(&sequence);
  }
  if (end == sequence.num_tokens() && sequence.WantsTokens()) {
    batch.samples.push_back({.token = token_at(end - 1),
                             .row = sequence.NextSamplingRow(),
                             .with_experts = sequence.request().return_experts});
    sequence_of_sample.push_back(&sequence);
  }
}

}  // namespace switchyard
