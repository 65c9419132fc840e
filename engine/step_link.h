// How a batch gets from rank 0 to the other ranks, and what they found out back to it.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/batch.h"
#include "kernels/shared_loops.h"
#include "parallel/communicator.h"

namespace switchyard {

// One end per rank. Rank 0 alternates Publish and Collect; every other rank alternates Next and Return. Each end is
// used by its rank's thread only. A lost peer makes every call fail with the reason.
class StepLink {
 public:
  virtual ~StepLink() = default;

  // Rank 0: hands `batch` to all. Null: no further batch will come.
  virtual absl::Status Publish(std::shared_ptr<const Batch> batch) = 0;
  // Rank 0: its own output and those of all others, in rank order; the first error if a rank had one.
  virtual absl::StatusOr<std::vector<StepOutput>> Collect(absl::StatusOr<StepOutput> own) = 0;
  // How long rank 0 may leave the others without a batch; then it publishes an empty one.
  virtual absl::Duration MaxSilence() const = 0;

  // Other ranks: waits for the next batch; null at the end.
  virtual absl::StatusOr<std::shared_ptr<const Batch>> Next() = 0;
  virtual absl::Status Return(absl::StatusOr<StepOutput> output) = 0;
};

// Ranks that are threads of this process: the batch itself is shared. Those that wait help in `loops`, unless it is
// null, before they sleep.
std::vector<std::unique_ptr<StepLink>> CreateSharedStepLinks(int num_ranks,
                                                             std::shared_ptr<SharedLoops> loops = nullptr);

// Ranks of several processes: batches and outputs travel encoded over `control`, which is borrowed. `max_silence` is to
// be well below the communicator's own time limit. Every batch has a number and a hash, which its receiver checks and
// sends back with its output: INTERNAL where a rank works on another batch than rank 0 has published.
std::unique_ptr<StepLink> CreateRemoteStepLink(Communicator& control, absl::Duration max_silence);

}  // namespace switchyard
