// One rank: its device, its share of the weights, its pages, and the loop that serves it batches.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_plan.h"
#include "engine/rank_model.h"
#include "engine/step_link.h"
#include "parallel/communicator.h"
#include "parallel/communicators/device_ranks.h"
#include "parallel/exchange_cost.h"

namespace switchyard {

// Made and used on the rank's own thread.
class RankWorker {
 public:
  // Creates the backend, connects its device to those of the other ranks, loads the rank's weights, allocates pages and
  // activations. `host` is the rank's communicator among CPUs, borrowed.
  static absl::StatusOr<std::unique_ptr<RankWorker>> Create(const EnginePlan& plan, const Checkpoint& checkpoint,
                                                            Communicator& host, int local_rank,
                                                            const LoadProgressCallback& progress);

  // What needs all ranks to be there: measures the exchanges and records decode steps. Every rank calls it once, before
  // the first step. On failure the data plane is aborted.
  absl::StatusOr<ExchangeCosts> WarmUp();
  // One step. On failure the data plane is aborted, so that no other rank waits for this one.
  absl::StatusOr<StepOutput> Step(const Batch& batch);
  // Serves a rank other than 0 until the link ends (OK) or breaks.
  absl::Status Serve(StepLink& link);

  // For the log and ModelInfo: "cuda NVIDIA H200 (sm_90), bfloat16; nccl 2.28.9; 38 recorded steps".
  std::string Description() const;

 private:
  RankWorker(const EnginePlan& plan, Communicator& host) : plan_(plan), host_(host) {}

  Communicator& data() const { return data_.get(); }
  void AbortAll(const absl::Status& status);

  const EnginePlan& plan_;
  Communicator& host_;
  std::unique_ptr<Backend> backend_;
  DeviceCommunicator data_;
  RankModel model_;
};

}  // namespace switchyard
