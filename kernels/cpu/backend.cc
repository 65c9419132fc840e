#include "kernels/backend.h"

#include "kernels/cpu/fast_backend.h"
#include "kernels/cpu/reference_backend.h"

namespace switchyard {

std::unique_ptr<Backend> CreateCpuBackend(const CpuBackendOptions& options) {
  if (options.reference) return std::make_unique<ReferenceBackend>(options.offload);
  return std::make_unique<FastBackend>(options);
}

}  // namespace switchyard
