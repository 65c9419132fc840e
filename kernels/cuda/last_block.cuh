// Which of several blocks comes last, so that it goes on with what all of them left in global memory.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

// True, in all threads of the block, for the last of `count` blocks to call it; it sees what the others wrote to global
// memory before. `arrivals` is 0 at first, and again when all have come.
__device__ __forceinline__ bool ArriveLast(int32_t* arrivals, int count) {
  __shared__ bool is_last;
  __syncthreads();
  if (threadIdx.x == 0) {
    // One fence for the whole block: what a barrier has ordered before it is ordered with it.
    __threadfence();
    is_last = atomicAdd(arrivals, 1) == count - 1;
    if (is_last) {
      __threadfence();
      *arrivals = 0;  // after the fence, which would wait for it
    }
  }
  __syncthreads();
  return is_last;
}

}  // namespace switchyard::cuda
