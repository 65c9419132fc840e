// A loop over ranges of elements in which any thread may take part, one loop after the other.
//
// One thread owns it: Open, Work, Close. Others Join while it is open. Close waits for those inside only: a thread that
// the system does not run meanwhile holds nobody up. What the owner wrote before Open is visible to who joins, and what
// they wrote to the owner after Close.
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/cpu/loop_ranges.h"

namespace switchyard {

class Loop {
 public:
  using Function = void (*)(void* context, int64_t begin, int64_t end);

  // function(context, ...) for ranges as LoopRanges::Reset. `context` is borrowed until Close.
  void Open(Function function, void* context, int64_t count, int64_t smallest, int64_t num_threads);
  // Takes ranges until none is left; returns whether there was one.
  bool Work();
  void Close();

  // Takes part if the loop is open; returns whether there was anything left to do. Any thread that does not own it.
  bool Join();

 private:
  static constexpr uint32_t kClosed = uint32_t{1} << 31;

  // Written while the loop is closed and nobody inside, read by those inside.
  Function function_ = nullptr;
  void* context_ = nullptr;
  LoopRanges ranges_;
  alignas(64) std::atomic<uint32_t> inside_{kClosed};  // guests inside; kClosed: none may begin
};

}  // namespace switchyard
