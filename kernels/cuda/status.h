// Errors of the CUDA runtime as Status.
#pragma once

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace switchyard::cuda {

// OK for cudaSuccess; else "cudaMalloc: out of memory (cudaErrorMemoryAllocation)" as RESOURCE_EXHAUSTED where memory
// ran out, NOT_FOUND where there is no GPU or no driver for it, INTERNAL otherwise.
absl::Status ToStatus(cudaError_t error, absl::string_view what);

}  // namespace switchyard::cuda
