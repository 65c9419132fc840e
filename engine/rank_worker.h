// One rank: its device, its share of the weights, its pages, and the loop that serves it batches.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_plan.h"
#include "engine/model/decoder.h"
#include "engine/step_link.h"
#include "parallel/communicator.h"
#include "parallel/expert_exchange.h"

namespace switchyard {

// Made and used on the rank's own thread.
class RankWorker {
 public:
  // Creates the backend, loads the rank's weights, allocates pages and activations. `data` is borrowed.
  static absl::StatusOr<std::unique_ptr<RankWorker>> Create(const EnginePlan& plan, const Checkpoint& checkpoint,
                                                            Communicator& data, int local_rank,
                                                            const LoadProgressCallback& progress);

  // One step. On failure the data plane is aborted, so that no other rank waits for this one.
  absl::StatusOr<StepOutput> Step(const Batch& batch);
  // Serves a rank other than 0 until the link ends (OK) or breaks.
  absl::Status Serve(StepLink& link);

  Backend& backend() { return *backend_; }

 private:
  explicit RankWorker(Communicator& data) : data_(data) {}

  Communicator& data_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ExpertExchange> exchange_;
  std::unique_ptr<Decoder> decoder_;
};

}  // namespace switchyard
