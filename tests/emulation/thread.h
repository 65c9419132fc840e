// The CUDA thread that is running on this OS thread, and what it can do that involves others of its block.
#pragma once

#include <cstdint>
#include <source_location>

#include "tests/emulation/async_copy.h"
#include "tests/emulation/include/vector_types.h"

namespace switchyard::emulation {

class Fiber;
struct Warp;

struct BlockShape {
  dim3 grid;
  dim3 block;
  uint3 block_index;
};

struct Thread {
  uint3 index = {};
  const BlockShape* shape = nullptr;
  Warp* warp = nullptr;
  uint32_t lane = 0;
  Fiber* fiber = nullptr;  // that it runs on; null before it began
  bool has_waited_for_previous = false;
  AsyncCopies copies;
};

extern thread_local constinit Thread* current_thread;

// __syncthreads(). Aborts if threads of the block come to different ones, which CUDA leaves undefined.
void BlockBarrier(const std::source_location& where);

// Lets another thread run sometimes: called where threads of a block may race by design.
void MaybeYield();

// WaitForPrevious() of kernels/cuda/dependency.cuh: here kernels run one after the other, and what is checked is that
// every thread of every one waits.
inline void NoteWaitForPrevious() { current_thread->has_waited_for_previous = true; }

// Prints the kernel, block, thread and `what`, and aborts.
[[noreturn]] void Fault(const char* what);
inline void CheckAligned16(const void* address, const char* instruction) {
  void FaultMisaligned(const void* address, const char* instruction);
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) FaultMisaligned(address, instruction);
}

}  // namespace switchyard::emulation
