// A batch in the making: what the scheduler has planned, laid out for the ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/batch.h"
#include "engine/sequence.h"

namespace switchyard {

// A batch and whose it is: sequence_of_sample[i] drew Batch::samples[i]; the scores of a sequence are consecutive.
struct ScheduledStep {
  Batch batch;
  std::vector<Sequence*> sequences;           // [batch.sequences]
  std::vector<Sequence*> sequence_of_sample;  // [batch.samples]
  std::vector<Sequence*> sequence_of_score;   // [batch.scores]

  // Adds the next `num_tokens` tokens of a sequence, for which it has pages; in ascending order of owner.
  void Append(Sequence& sequence, int64_t num_tokens);
};

// Prompt positions that get a score if the next `num_tokens` tokens are computed: [begin, end). A sequence that is
// computed again does not score again.
struct ScoreRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end > begin ? end - begin : 0; }
};
ScoreRange ScoresAmong(const Sequence& sequence, int64_t num_tokens);

// The next tokens to compute, within what the step has left; 0: not in this step.
int64_t ChunkSize(const Sequence& sequence, int64_t max_tokens, int64_t max_score_rows);

}  // namespace switchyard
