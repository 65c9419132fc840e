// The threads of a process's ranks, rank 0 excepted: that one is the engine's own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "engine/engine_plan.h"
#include "engine/step_link.h"
#include "parallel/launch.h"

namespace switchyard {

// Adds up the loading progress of this process's ranks. Must outlive their loading. Thread-safe.
class LoadMeter {
 public:
  LoadMeter(const EnginePlan& plan, const Checkpoint& checkpoint, const LocalRanks& ranks,
            const StartupCallback& progress);

  // The callback of one local rank.
  LoadProgressCallback ForRank(int local_rank);

 private:
  const StartupCallback progress_;
  std::mutex mu_;
  std::vector<LoadProgress> loads_;  // [local ranks], guarded by mu_
  int64_t bytes_total_ = 0;
};

// One end per local rank, in order.
std::vector<std::unique_ptr<StepLink>> CreateStepLinks(const LocalRanks& ranks, const EnginePlan& plan);

// Every reference is borrowed and must outlive the threads; destruction joins them.
class FollowerThreads {
 public:
  FollowerThreads(const EnginePlan& plan, const Checkpoint& checkpoint, const LocalRanks& ranks,
                  const std::vector<std::unique_ptr<StepLink>>& links, LoadMeter& meter);
  ~FollowerThreads() { Join().IgnoreError(); }

  // Whether all have ended, after `limit` at most.
  bool WaitFor(absl::Duration limit);
  // Waits for all; the first error.
  absl::Status Join();

 private:
  std::mutex mu_;
  std::condition_variable ended_;
  size_t num_ended_ = 0;  // guarded by mu_
  std::vector<std::thread> threads_;
  std::vector<absl::Status> statuses_;  // each written by its thread, read after the join
};

}  // namespace switchyard
