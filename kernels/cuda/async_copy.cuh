// cp.async: copies from global to shared memory that a thread starts, commits in groups, and waits for. Device side:
// PTX for sm_80 and later. Host side: the emulation of tests/emulation. Source: NVIDIA, Parallel Thread Execution
// ISA 8.x, section on cp.async.
#pragma once

#include "kernels/cuda/shared_place.cuh"

#ifndef __CUDACC__
#include "tests/emulation/async_copy.h"
#endif

namespace switchyard::cuda {

// Starts a copy of 16 bytes, both sides aligned to 16; if not `valid`, 16 zero bytes are written and `global` is not
// read. The emulation reads and writes only when the copy is waited for, the latest moment that a GPU may choose.
__device__ __forceinline__ void CpAsync16(void* shared, const void* global, bool valid) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
               :
               : "r"(SharedAddress(shared)), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
#else
  emulation::StartAsyncCopy16(shared, global, valid);
#endif
}

// Closes the group of the copies that this thread started since the last commit.
__device__ __forceinline__ void CpAsyncCommit() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" : : : "memory");
#else
  emulation::CommitAsyncCopies();
#endif
}

// Waits until at most kPending of this thread's groups are under way. Other threads see the data after a barrier.
template <int kPending>
__device__ __forceinline__ void CpAsyncWait() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
#else
  emulation::WaitForAsyncCopies(kPending);
#endif
}

}  // namespace switchyard::cuda
