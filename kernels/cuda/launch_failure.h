// The first launch of this thread that failed. CUDA's own last error does not do: libraries that launch kernels between
// ours clear it, and a step whose attention never ran would give its garbage as an answer.
#pragma once

#include <cuda_runtime_api.h>

namespace switchyard::cuda {

void NoteLaunch(cudaError_t result);

// cudaSuccess if none failed since the last call.
cudaError_t TakeLaunchFailure();

}  // namespace switchyard::cuda
