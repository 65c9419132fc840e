// Host memory for weights, caches and activations.
#pragma once

#include <cstddef>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace switchyard {

// Zeroed, aligned to 64 bytes at least; large blocks lie on huge pages where the system gives them, since streaming
// weights over 4 KiB pages spends its time in page walks. RESOURCE_EXHAUSTED names the size asked for.
absl::StatusOr<Buffer> AllocateHostMemory(size_t bytes);

// Where weights take their memory from: the above, or something else that is zeroed and aligned alike.
using HostAllocator = absl::FunctionRef<absl::StatusOr<Buffer>(size_t bytes)>;

}  // namespace switchyard
