// The elements of a loop, handed out to threads range by range.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace switchyard {

// The elements are divided into equal parts, one for each thread, which takes its part in order: what a loop reads from
// memory, a thread reads front to back, and what it fetches ahead is its own. Ranges are half of what is left of the
// part. Who has finished a part goes on with one that nobody has begun, a thread that came late or not at all, and
// then takes halves from the ends of the others' parts, so that nobody waits long for a slow thread.
//
// Example: 64 elements in ranges of 4 or more, 2 threads. A takes [0, 16), [16, 24), [24, 28), [28, 32); B, which is
// slower, [32, 48). Then A takes [56, 64), B [48, 52) and A [52, 56).
class LoopRanges {
 public:
  // Divides [0, count) for `num_threads` threads into ranges of `smallest` elements or more, but for the one at the
  // end; count >= 0, the others >= 1. Not while a Taker is in use.
  void Reset(int64_t count, int64_t smallest, int64_t num_threads) {
    count_ = count;
    unit_ = std::max(smallest, (count >> 31) + 1);
    const int64_t units = (count + unit_ - 1) / unit_;
    num_parts_ = std::clamp<int64_t>(std::min(num_threads, units), 1, kMaxParts);
    for (int64_t i = 0; i < num_parts_; ++i) {
      parts_[i].rest.store(Pack(i * units / num_parts_, (i + 1) * units / num_parts_), std::memory_order_relaxed);
    }
    num_begun_.store(0, std::memory_order_relaxed);
  }

  // One thread's way through the loop.
  class Taker {
   public:
    explicit Taker(LoopRanges& loop) : loop_(loop), own_(loop.BeginPart()) {}

    // Takes the next range; false: nothing is left.
    bool Take(int64_t& begin, int64_t& end) {
      for (; own_ < loop_.num_parts_; own_ = loop_.BeginPart()) {
        if (loop_.TakeFrom(loop_.parts_[own_], Side::kFront, begin, end)) return true;
      }
      while (Part* const longest = loop_.FindLongest()) {
        if (loop_.TakeFrom(*longest, Side::kBack, begin, end)) return true;
      }
      return false;
    }

   private:
    LoopRanges& loop_;
    int64_t own_;  // the part that it takes in order; num_parts_ or more: none is left to begin
  };

 private:
  // Threads beyond them take from the others' parts alone.
  static constexpr int64_t kMaxParts = 64;
  enum class Side { kFront, kBack };
  struct alignas(64) Part {
    std::atomic<uint64_t> rest{0};  // units [begin, end) that nobody has taken, packed
  };

  static uint64_t Pack(int64_t begin, int64_t end) {
    return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
  }
  static int64_t BeginOf(uint64_t rest) { return static_cast<int64_t>(rest >> 32); }
  static int64_t EndOf(uint64_t rest) { return static_cast<int64_t>(rest & 0xFFFFFFFF); }

  // The next part to be taken in order, or num_parts_ or more.
  int64_t BeginPart() { return num_begun_.fetch_add(1, std::memory_order_relaxed); }

  // Half of what is left of a part, from its front or its back; false: nothing is left.
  bool TakeFrom(Part& part, Side side, int64_t& begin, int64_t& end) {
    uint64_t rest = part.rest.load(std::memory_order_relaxed);
    for (;;) {
      const int64_t first = BeginOf(rest), last = EndOf(rest);
      if (first >= last) return false;
      const int64_t taken = std::max<int64_t>(1, (last - first) / 2);
      const int64_t from = side == Side::kFront ? first : last - taken;
      const uint64_t left = side == Side::kFront ? Pack(first + taken, last) : Pack(first, from);
      if (!part.rest.compare_exchange_weak(rest, left, std::memory_order_relaxed)) continue;
      begin = from * unit_;
      end = std::min(count_, (from + taken) * unit_);
      return true;
    }
  }

  // Null: nothing is left.
  Part* FindLongest() {
    Part* longest = nullptr;
    int64_t most = 0;
    for (int64_t i = 0; i < num_parts_; ++i) {
      const uint64_t rest = parts_[i].rest.load(std::memory_order_relaxed);
      if (EndOf(rest) - BeginOf(rest) <= most) continue;
      most = EndOf(rest) - BeginOf(rest);
      longest = &parts_[i];
    }
    return longest;
  }

  int64_t count_ = 0;
  int64_t unit_ = 1;  // elements
  int64_t num_parts_ = 0;
  std::atomic<int64_t> num_begun_{0};  // may exceed num_parts_
  std::array<Part, kMaxParts> parts_;
};

}  // namespace switchyard
