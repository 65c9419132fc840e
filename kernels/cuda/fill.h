// Random weights made where they are used, for benchmarks without a checkpoint.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

// data[i] = deviation * normal(seed, i), by Philox4x32-10 (kernels/cpu/philox.h) and Box-Muller: the same numbers in
// every run, whatever the grid. data is aligned to 16 bytes. Bound: arithmetic, some 50 instructions per element,
// before the 2 bytes written.
void FillRandom(DType dtype, void* data, int64_t num_elements, uint64_t seed, float deviation, Stream stream);

}  // namespace switchyard::cuda
