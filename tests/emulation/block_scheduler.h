// Runs one block's threads on fibers of the calling OS thread, in random order.
//
// A thread runs until it waits, exits or yields. Threads of its warp are preferred then, so that a warp runs far ahead
// of others from time to time: barriers that are missing show, and a warp's collectives stay in the cache. A thread
// that never waits begins and ends on the fiber of the one before it, without a switch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "tests/emulation/fiber.h"
#include "tests/emulation/kernel_launch.h"
#include "tests/emulation/thread.h"
#include "tests/emulation/warp.h"

namespace switchyard::emulation {

struct Warp {
  uint32_t index = 0;
  uint32_t lanes = 0;  // that exist
  uint32_t ready = 0;  // can run: not begun, or what they waited for has come
  uint32_t exited = 0;
  uint32_t at_barrier = 0;
  uint32_t arrived = 0;  // wait in a collective
  void* operands[32] = {};
  uint32_t masks[32] = {};  // of the collective that the lane waits in
  const char* names[32] = {};
};

class BlockScheduler {
 public:
  static constexpr uint32_t kMaxThreads = 1024;

  // The calling OS thread's.
  static BlockScheduler& Get();

  // Runs every thread of one block to its end.
  void RunBlock(const KernelLaunch& launch, uint3 block_index, const std::function<void()>& thread);
  void Seed(uint64_t seed) { random_ = seed; }
  // `bound` at most 2^32.
  uint64_t Random(uint64_t bound);

  // From a running thread; see thread.h and warp.h.
  void Barrier(const std::source_location& where);
  void Collective(uint32_t mask, const char* name, void* operand, CollectiveBody body);
  void MaybeYield();
  [[noreturn]] void Fault(const char* what) const;

  uint64_t num_switches() const { return num_switches_; }

 private:
  // A fiber and the thread that it is to run next.
  struct Worker {
    Worker(BlockScheduler& scheduler, size_t color) : scheduler(scheduler), fiber(&Worker::Run, this, color) {}
    static void Run(void* self);
    BlockScheduler& scheduler;
    Thread* next = nullptr;
    Fiber fiber;
  };

  void RunThreads(Worker& worker);
  Thread* PickReady();
  void MakeReady(Warp& warp, uint32_t lanes);
  // Lets others run until the running thread is ready and picked.
  void Suspend();
  // The fiber to switch to for `next`, which becomes the running thread.
  Fiber& FiberFor(Thread& next);
  void Exit(Thread& thread);
  void ReportStuck(const char* what) const;

  const KernelLaunch* launch_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  BlockShape shape_;
  uint32_t num_threads_ = 0;
  uint32_t num_warps_ = 0;
  uint32_t num_exited_ = 0;
  uint32_t ready_warps_ = 0;  // those with ready lanes
  uint32_t running_warp_ = 0;
  uint32_t num_at_barrier_ = 0;
  std::source_location barrier_;
  uint64_t random_ = 1;
  uint64_t num_switches_ = 0;

  Fiber main_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
};

}  // namespace switchyard::emulation
