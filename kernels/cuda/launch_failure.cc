#include "kernels/cuda/launch_failure.h"

#include <utility>

namespace switchyard::cuda {
namespace {

thread_local cudaError_t pending = cudaSuccess;

}  // namespace

void NoteLaunch(cudaError_t result) {
  if (pending == cudaSuccess) pending = result;
}

cudaError_t TakeLaunchFailure() { return std::exchange(pending, cudaSuccess); }

}  // namespace switchyard::cuda
