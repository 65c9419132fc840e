// The heart of rank 0: takes requests in, schedules, steps all ranks, hands results out.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "engine/engine_plan.h"
#include "engine/queue_bounds.h"
#include "engine/rank_worker.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/stats_recorder.h"
#include "engine/step_link.h"

namespace switchyard {

class Tokenizer;

// Thread safety: Run belongs to one thread, rank 0's; the rest may be called from any.
class EngineLoop {
 public:
  // Chooses the exchange of a step; alike for all ranks because only rank 0 asks.
  using ExchangeChooser = std::function<ExchangeStrategy(const Batch& batch)>;

  // `tokenizer` may be null and is borrowed. `seed` serves requests that bring none.
  EngineLoop(const EnginePlan& plan, const DecoderSpec& spec, const GenerationDefaults& defaults,
             const Tokenizer* tokenizer, uint64_t seed);

  absl::Status Submit(GenerationRequest request, UpdateCallback on_update);
  void Abort(const std::string& request_id);
  absl::Status Drain(absl::Duration limit);
  absl::Status Health() const;
  // What Run has ended with; OK before, and where it was stopped.
  absl::Status failure() const;
  EngineStats Stats() const { return stats_.Snapshot(); }

  // Serves until Stop or the loss of a rank; every request has had its last update on return.
  void Run(RankWorker& worker, StepLink& link, const ExchangeChooser& choose);
  void Stop();

 private:
  struct Submission {
    GenerationRequest request;
    UpdateCallback on_update;
    absl::Time time;
  };

  // Waits for something to do at most `limit`; takes in submissions and aborts, and ends what is overdue. False: stop.
  bool TakeIn(absl::Duration limit);
  void AddSequence(Submission submission);
  void EndOverdue(absl::Time now);
  absl::Status RunStep(RankWorker& worker, StepLink& link, const ExchangeChooser& choose);
  void CountStarts(const ScheduledStep& step, absl::Time now);
  void HandOut(const ScheduledStep& step, std::vector<StepOutput> outputs);
  // Drops the sequences that have finished, and only then lets their front ends know: whoever hears of the end of a
  // request finds its pages returned.
  void Settle();
  void FailAll(FinishReason reason, const absl::Status& status);

  const EnginePlan& plan_;
  const DecoderSpec& spec_;
  const std::vector<int32_t> eos_ids_;
  const Tokenizer* const tokenizer_;
  uint64_t next_seed_;
  uint64_t next_step_ = 0;
  StatsRecorder stats_;

  // Of Run's thread.
  Scheduler scheduler_;
  struct LastUpdate {
    std::string request_id;
    UpdateCallback on_update;
    RequestUpdate update;
  };
  std::vector<LastUpdate> last_updates_;

  mutable std::mutex mu_;
  std::condition_variable wake_;  // something to take in, or to stop for
  std::condition_variable idle_;  // nothing in flight
  // Guarded by mu_.
  std::deque<Submission> inbox_;
  std::vector<std::string> aborts_;
  std::unordered_set<std::string> in_flight_;
  QueueBounds queue_;
  bool delivering_ = false;  // last updates are on their way
  bool draining_ = false;
  bool stopping_ = false;
  absl::Status failure_;
};

}  // namespace switchyard
