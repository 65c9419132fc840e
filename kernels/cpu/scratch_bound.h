// What the scratch of the fast CPU backend (kernels/cpu/scratch.h) can grow to in steps of a given size.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/backend.h"

namespace switchyard {

// An upper bound in bytes: it takes every token's experts to be on this rank, which few steps come near. 0 for the
// reference kernels, which keep none. `layers`: every form of matrix of the dense layers; `experts`: of those of the
// experts.
size_t CpuScratchBound(const BackendLimits& limits, std::span<const MatrixSpec> layers,
                       std::span<const MatrixSpec> experts, const CpuBackendOptions& options);

}  // namespace switchyard
