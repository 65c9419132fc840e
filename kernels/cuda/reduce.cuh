// Sums over the lanes of a warp and over the threads of a block.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr uint32_t kFullWarp = 0xFFFFFFFFu;

// Every lane gets the result; all 32 lanes take part.
__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
  return value;
}

__device__ __forceinline__ float WarpMax(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

// Every thread of the block gets the sum, in an order that depends on the block's size alone. blockDim.x is a multiple
// of 32, the other extents are 1. `scratch` is shared memory [32]; a barrier must lie between two uses of it.
__device__ __forceinline__ float BlockSum(float value, float* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  value = WarpSum(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  return WarpSum(lane < num_warps ? scratch[lane] : 0.0f);
}

}  // namespace switchyard::cuda
