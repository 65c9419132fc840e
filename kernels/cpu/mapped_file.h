// A file that is memory: what is in it need not stay in memory.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace switchyard {

// `bytes` of zeros, mapped from a new file in `directory` that has no name and ends with the mapping. Its blocks are
// reserved, so that no later write can find the disk full. NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (a full
// disk, or no address space) and the like name the directory, the size and the remedy.
absl::StatusOr<Buffer> CreateMappedFile(const std::string& directory, size_t bytes);

}  // namespace switchyard
