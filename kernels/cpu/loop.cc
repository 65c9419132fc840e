#include "kernels/cpu/loop.h"

#include "kernels/cpu/spin.h"

namespace switchyard {

void Loop::Open(Function function, void* context, int64_t count, int64_t smallest, int64_t num_threads) {
  function_ = function;
  context_ = context;
  ranges_.Reset(count, smallest, num_threads);
  inside_.fetch_and(~kClosed, std::memory_order_release);
}

void Loop::Work() {
  int64_t begin = 0, end = 0;
  while (ranges_.Take(begin, end)) function_(context_, begin, end);
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
  int64_t begin = 0, end = 0;
  const bool has_work = is_open && ranges_.Take(begin, end);
  if (has_work) {
    function_(context_, begin, end);
    Work();
  }
  inside_.fetch_sub(1, std::memory_order_release);
  inside_.notify_one();
  return has_work;
}

}  // namespace switchyard
