// Linked where CMake found no CUDA backend to build.
#include "kernels/backend.h"

#include "absl/status/status.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(int /*device_index*/) {
  return absl::UnimplementedError("--device cuda: this build of switchyard has no CUDA backend; run with --device cpu");
}

}  // namespace switchyard
