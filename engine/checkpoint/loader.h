// One rank's weights: all memory first, then all reads.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "kernels/backend.h"

namespace switchyard {

// Checkpoint::Open over other files than the file system's.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& directory, const FileOpener& open);

// Every weight is created at its full size before a byte is read. Errors of a read name its file and tensor, errors of
// an allocation the weight.
absl::StatusOr<ModelWeights> LoadWeights(const DecoderSpec& spec, const LoadPlan& plan,
                                         std::span<const std::unique_ptr<RandomAccessFile>> files, Backend& backend,
                                         const LoadProgressCallback& progress);

}  // namespace switchyard
