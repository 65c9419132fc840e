// The safetensors files of a model directory: one, or those that an index names, opened and their headers checked.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/checkpoint/weight_map.h"

namespace switchyard {

struct ShardFiles {
  std::vector<std::unique_ptr<RandomAccessFile>> files;
  std::vector<ShardHeader> headers;  // one per file, in the same order
};

// model.safetensors, or else the files that model.safetensors.index.json names, checked against their headers both
// ways. NOT_FOUND or INVALID_ARGUMENT names the file, the tensor and what disagrees; oddities end in `warnings`.
absl::StatusOr<ShardFiles> OpenShardFiles(const FileOpener& open, const std::string& directory,
                                          std::vector<std::string>& warnings);

}  // namespace switchyard
