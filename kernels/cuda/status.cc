#include "kernels/cuda/status.h"

#include "absl/strings/str_cat.h"

namespace switchyard::cuda {

absl::Status ToStatus(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  (void)cudaGetLastError();  // reported here, and not once more by whoever looks at the next launch
  const std::string message = absl::StrCat(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
      return absl::NotFoundError(absl::StrCat(message, "; `nvidia-smi -L` lists the GPUs of this machine"));
    case cudaErrorInsufficientDriver:
      return absl::NotFoundError(
          absl::StrCat(message,
                       "; install an NVIDIA driver that supports CUDA 13 (580 or newer), or run with --device "
                       "cpu"));
    default:
      return absl::InternalError(message);
  }
}

}  // namespace switchyard::cuda
