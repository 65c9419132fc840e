// The elements of a loop, handed out to threads range by range.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace switchyard {

// Ranges shrink as the end nears: long ones first, which read memory in order for long, and small ones last, so that
// nobody waits long for a thread that came late or was slow. Take may be called from any thread, Reset while none does.
class ShrinkingRanges {
 public:
  // Ranges of [0, count) for `num_threads` threads, none but the last smaller than `smallest`; count >= 0, the others
  // >= 1.
  void Reset(int64_t count, int64_t smallest, int64_t num_threads) {
    count_ = count;
    smallest_ = smallest;
    shares_ = 2 * num_threads;
    next_.store(0, std::memory_order_relaxed);
  }

  // Takes the next range; false: nothing is left.
  bool Take(int64_t& begin, int64_t& end) {
    begin = next_.load(std::memory_order_relaxed);
    do {
      if (begin >= count_) return false;
      end = std::min(count_, begin + std::max(smallest_, (count_ - begin) / shares_));
    } while (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed));
    return true;
  }

 private:
  int64_t count_ = 0;
  int64_t smallest_ = 1;
  int64_t shares_ = 1;            // of what is left, a range is one
  std::atomic<int64_t> next_{0};  // first element that nobody has taken
};

}  // namespace switchyard
