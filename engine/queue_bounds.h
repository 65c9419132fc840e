// How many requests may wait, and what one is told that may not.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/rate_meter.h"
#include "engine/scheduler.h"
#include "engine/stats.h"

namespace switchyard {

// A request waits from its arrival until its first step. While the last step left nobody waiting, as many as there are
// free places may arrive beyond the bound, since they do not have to wait.
// Not thread-safe: the engine loop's mutex guards it.
class QueueBounds {
 public:
  struct Limits {
    int64_t max_requests = 0;
    int64_t max_tokens = 0;  // of prompts; 0: no bound
    int64_t max_running = 0;
  };
  explicit QueueBounds(const Limits& limits) : limits_(limits), free_places_(limits.max_running) {}

  // Counts an arrival; or RESOURCE_EXHAUSTED with what waits, the limit and when to try again, and `reason` is set.
  absl::Status Arrive(int64_t prompt_tokens, absl::Time now, RejectReason& reason);
  // All that have arrived are with the scheduler from now on.
  void TakeIn() {
    queued_ = waiting();
    arrived_ = {};
  }
  // What the scheduler holds after a step was planned or requests have ended.
  void Update(const Scheduler& scheduler);
  // So many of those that waited have begun to run.
  void Start(int64_t count, absl::Time now) { starts_.Add(static_cast<double>(count), now); }

  // Seconds until those that wait will have begun, by the rate of late: 1 to 60.
  int64_t RetryAfterSeconds(absl::Time now) const;

  Scheduler::Backlog waiting() const;

 private:
  const Limits limits_;
  Scheduler::Backlog queued_;   // with the scheduler
  Scheduler::Backlog arrived_;  // not yet there
  int64_t free_places_;
  int64_t num_running_ = 0;
  RateMeter starts_{absl::Seconds(10)};
};

}  // namespace switchyard
