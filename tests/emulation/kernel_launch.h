// Running a kernel's grid on the calling OS thread: blocks one after another in random order, each block's threads on
// fibers in random order. Several OS threads may run launches at the same time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>

#include "kernels/cuda/stream.h"
#include "tests/emulation/include/vector_types.h"

namespace switchyard::emulation {

struct KernelLaunch {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  const void* kernel = nullptr;  // the function, for its name and its static shared memory
  std::source_location where;
};

// Runs `thread` once per CUDA thread now, or at every launch of the graph that `stream` is being captured for. A shape
// that no GPU would take is refused, and becomes the runtime's last error as well.
cudaError_t LaunchKernel(const KernelLaunch& launch, cuda::Stream stream, std::function<void()> thread);

// The running block's dynamic shared memory: a heap block of exactly the launch's size, filled with 0xFF bytes (NaN in
// every float type) when the block begins.
void* DynamicSharedMemory();

// Orders of blocks and fibers in every later launch follow from the seed (1 at first) and from the number of launches
// that the same OS thread made since.
void SetEmulationSeed(uint64_t seed);

// Switches between fibers on this OS thread so far.
uint64_t NumFiberSwitches();

}  // namespace switchyard::emulation
