// Linked where CMake found no CUDA backend to build.
#include "kernels/backend.h"

#include "absl/status/status.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaBackendOptions& /*options*/) {
  return absl::UnimplementedError(
      "--device cuda: this build of switchyard has no CUDA backend; install the CUDA 13 toolkit and build again, or "
      "run "
      "with --device cpu");
}

}  // namespace switchyard
