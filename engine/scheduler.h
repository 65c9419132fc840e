// Continuous batching: which tokens of which sequences the next step computes.
//
// Rules: sequences that already run come first, in order of arrival, so that nothing admitted starves; a decoding
// sequence takes one token of the budget, a prefilling one as much of its rest as is left (chunked prefill). Waiting
// sequences are admitted first come, first served while tokens, pages and places are left. When pages run out, the
// latest arrival in that KV domain gives its pages back and waits at the front of the queue, to be recomputed.
// Not thread-safe: belongs to the engine's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/page_allocator.h"
#include "engine/sequence.h"

namespace switchyard {

struct SchedulerConfig {
  int num_kv_domains = 1;  // ranks, where sequences are divided among them; else 1
  int64_t pages_per_domain = 0;
  int64_t page_size = 16;
  int64_t max_batch_tokens = 2048;
  int64_t max_running_requests = 256;
  // Score rows are wide ([vocab] logits each): at most so many prompt positions are scored in one step.
  int64_t max_score_rows = 1024;
};

// A batch and whose it is: sequence_of_sample[i] drew Batch::samples[i]; the scores of a sequence are consecutive.
struct ScheduledStep {
  Batch batch;
  std::vector<Sequence*> sequences;           // [batch.sequences]
  std::vector<Sequence*> sequence_of_sample;  // [batch.samples]
  std::vector<Sequence*> sequence_of_score;   // [batch.scores]
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);

  // Whether a sequence of that many tokens can ever run; INVALID_ARGUMENT with need, have and the flag that helps.
  absl::Status CanEverRun(int64_t max_tokens) const;
  void Add(std::unique_ptr<Sequence> sequence);
  // Empty when there is nothing to do. The batch's `step` and `exchange` are the caller's to set.
  ScheduledStep Schedule(absl::Time now);
  // After a step: advances what the step computed. Call before the results are given to the sequences.
  void Advance(const ScheduledStep& step);
  // Drops sequences that have finished; their pages return at once.
  void RemoveFinished();
  // Finds a sequence, waiting or running; null if unknown.
  Sequence* Find(const std::string& request_id);
  // All, in order of arrival; for failing or aborting them.
  std::vector<Sequence*> All();

  bool empty() const { return waiting_.empty() && running_.empty(); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t pages_total() const;
  int64_t pages_used() const;
  uint64_t num_preemptions() const { return num_preemptions_; }

 private:
  const SchedulerConfig config_;
  std::vector<std::unique_ptr<PageAllocator>> domains_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of arrival
  uint64_t num_preemptions_ = 0;
};

}  // namespace switchyard
