// Quantises a checkpoint once, into a directory that we and other tools load without further work.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/quantization_choices.h"

namespace switchyard {

struct QuantizeOptions {
  std::string model_dir;
  std::string out_dir;
  QuantizationChoices quantize;  // experts not none; the others as experts, or none: a checkpoint states one form
  int64_t max_shard_bytes = 5'000'000'000;  // of tensors in one file, unless one weight has more
  bool sync = true;                         // waits for the disk, so that a power failure leaves all or nothing
  int num_threads = 1;                      // each holds one tensor
};

struct QuantizeSummary {
  int64_t bytes_read = 0;     // of tensors
  int64_t bytes_written = 0;  // of all files
  std::vector<std::string> warnings;
};

// Writes what Checkpoint::Open(model_dir, quantize) would hold, bit for bit: NF4 as bitsandbytes saves it, INT4 and
// INT8 in GPTQ's packing, all else as it is, with a manifest. The directory is written under another name beside
// `out_dir` and renamed when all of it is on the disk; a failure leaves nothing behind. `progress` counts bytes of
// `model_dir` and the shards that are written. CANCELLED once `is_cancelled` says so; both may be null.
// INVALID_ARGUMENT names the option, or the file and tensor; ALREADY_EXISTS where out_dir is not empty;
// RESOURCE_EXHAUSTED where the disk is too small, before anything is written if that is known.
absl::StatusOr<QuantizeSummary> QuantizeCheckpoint(const QuantizeOptions& options, const LoadProgressCallback& progress,
                                                   const std::function<bool()>& is_cancelled);

}  // namespace switchyard
