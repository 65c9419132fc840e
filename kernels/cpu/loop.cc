#include "kernels/cpu/loop.h"

#include "kernels/cpu/spin.h"

namespace switchyard {

void Loop::Open(Function function, void* context, int64_t count, int64_t smallest, int64_t num_threads) {
  function_ = function;
  context_ = context;
  ranges_.Reset(count, smallest, num_threads);
  inside_.fetch_and(~kClosed, std::memory_order_release);
}

bool Loop::Work() {
  LoopRanges::Taker taker(ranges_);
  int64_t begin = 0, end = 0;
  bool has_worked = false;
  for (; taker.Take(begin, end); has_worked = true) function_(context_, begin, end);
  return has_worked;
}

void Loop::Close() {
  uint32_t inside = inside_.fetch_or(kClosed, std::memory_order_acquire) | kClosed;
  while (inside != kClosed) {
    WaitWhile(inside_, inside);
    inside = inside_.load(std::memory_order_acquire);
  }
}

bool Loop::Join() {
  if ((inside_.load(std::memory_order_relaxed) & kClosed) != 0) return false;
  // One that comes too late finds the loop closed, or the next one open, and takes part in that.
  const bool is_open = (inside_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0;
  const bool has_worked = is_open && Work();
  inside_.fetch_sub(1, std::memory_order_release);
  inside_.notify_one();
  return has_worked;
}

}  // namespace switchyard
