// Reductions and scans over a block of kScanThreads threads, in an order fixed by the threads' places. `space` is
// shared memory [kScanWarps]; each function ends with a barrier, so that the space may be used again at once.
#pragma once

#include <cstdint>

#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {

inline constexpr int kScanThreads = 512;
inline constexpr int kScanWarps = kScanThreads / kWarpSize;

// Every thread gets the result.
__device__ __forceinline__ uint64_t BlockMax(uint64_t value, uint64_t* space) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(kFullWarp, value, offset);
    value = other > value ? other : value;
  }
  if (threadIdx.x % kWarpSize == 0) space[threadIdx.x / kWarpSize] = value;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kScanWarps; ++warp) value = space[warp] > value ? space[warp] : value;
  __syncthreads();
  return value;
}

// Every thread gets the sum; T is uint64_t or double.
template <typename T>
__device__ __forceinline__ T BlockTotal(T value, T* space) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
  if (threadIdx.x % kWarpSize == 0) space[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  T total = 0;
#pragma unroll
  for (int warp = 0; warp < kScanWarps; ++warp) total += space[warp];
  __syncthreads();
  return total;
}

struct ScanResult {
  uint64_t before;  // the sum of the threads before this one
  uint64_t total;
};

__device__ __forceinline__ ScanResult BlockScan(uint64_t value, uint64_t* space) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int own_warp = static_cast<int>(threadIdx.x) / kWarpSize;
  uint64_t sum = value;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const uint64_t other = __shfl_up_sync(kFullWarp, sum, offset);
    if (lane >= offset) sum += other;
  }
  if (lane == kWarpSize - 1) space[own_warp] = sum;
  __syncthreads();
  ScanResult result{sum - value, 0};
#pragma unroll
  for (int warp = 0; warp < kScanWarps; ++warp) {
    if (warp < own_warp) result.before += space[warp];
    result.total += space[warp];
  }
  __syncthreads();
  return result;
}

}  // namespace switchyard::cuda
