// Fills one rank's weights from its files, by several threads.
//
//   blocks, in file order   |b0|b1|b2|b3|b4|b5|...      one atomic cursor
//   thread 0                norms, b1: read, fill; b4: read, fill
//   thread 1                b0: read,   fill;   b3: read, ...
//   thread 2                b2:  read, fill;  b5: ...
//
// A thread that takes block i asks the system to fetch block i + threads, so that the disk works while all threads
// copy. A tensor that its file holds quantised is one block, however large.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/model/model_weights.h"
#include "kernels/backend.h"

namespace switchyard {

// Checkpoint::Open over other files than the file system's.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& directory, const FileOpener& open,
                                                           const QuantizationChoices& quantize = {});

// Fills what CreatePlannedWeights made after `plan`. The calling thread, which must be the backend's, is one of the
// readers, and the only one to call the backend: it allocates the staging memory and copies the norms. Errors name the
// file and the tensor.
absl::Status ReadWeights(const LoadPlan& plan, std::span<const std::unique_ptr<RandomAccessFile>> files,
                         Backend& backend, ModelWeights& weights, const LoadOptions& options,
                         const LoadProgressCallback& progress);

}  // namespace switchyard
