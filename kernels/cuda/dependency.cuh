// How kernels of a stream follow one another. Launch() lets a kernel start before the one ahead of it has ended, which
// hides the microsecond or two that each start takes: where a step is many short kernels, a third of its time. The
// kernel itself waits, by these rules:
//
// 1. Every thread of every kernel calls WaitForPrevious(), whether it has work or not: before any return, and before it
//    touches global memory, but for reads of what no kernel ever writes (weights) and, by rule 2, of what only kernels
//    before the one ahead wrote. Writes must wait as well: the kernel ahead may still read what they replace. So the
//    end of a kernel is the end of all before it. The emulation ends the process at a thread that exits without a wait.
// 2. LetNextStart() comes after the wait, never before: then only two kernels overlap, and at the wait all but one of
//    the kernels ahead have ended. It is never needed, since a block that exits says the same.
// 3. It takes effect when every block of the grid has said it or exited. Blocks of the next kernel then take what room
//    the multiprocessors have left, and wait there; they are in nobody's way, since all of this grid's blocks have a
//    place already. Short kernels say it at once; those that keep the memory or the matrix units busy for long say it
//    when a block has nothing left but its results to store: the next one could do nothing before.
//
// What is not a kernel of ours (products of cuBLASLt, collectives, copies) waits for the whole of what is ahead of it,
// as ever. A kernel of ours behind a copy or an event starts when that is over.
//
// Source: NVIDIA, CUDA Programming Guide, "Programmatic Dependent Launch and Synchronization"; PTX ISA,
// griddepcontrol. sm_90 and later; before, and in the emulation, kernels run one after the other.
#pragma once

#ifndef __CUDACC__
#include "tests/emulation/thread.h"
#endif

namespace switchyard::cuda {

// Returns when the kernels ahead in the stream have ended and all they wrote is visible.
__device__ __forceinline__ void WaitForPrevious() {
#ifndef __CUDACC__
  emulation::NoteWaitForPrevious();
#elif __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

// The next kernel in the stream may start, and wait, once all blocks have called this.
__device__ __forceinline__ void LetNextStart() {
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

}  // namespace switchyard::cuda
