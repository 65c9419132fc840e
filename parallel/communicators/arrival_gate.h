// A gate that opens when all members of a group of threads have arrived, again and again, and that can be broken.
//
// What a thread wrote before it arrived is visible to all once the gate has opened. Waiting spins for some tens of
// microseconds and then sleeps; it sleeps at once where there are more members than processors, or where a member that
// is still missing was last seen on this thread's own processor, which spinning would keep from it. A thread that spins
// can make itself useful meanwhile. Whether an opening happened or the gate broke first is decided once, alike for
// every member.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"

namespace switchyard {

class ArrivalGate {
 public:
  enum class Outcome { kOpened, kBroken, kTimedOut };
  // One opening; the same number for every member.
  using Ticket = uint32_t;

  // Members are numbered 0 to size - 1, one thread each. `meanwhile`, unless null, is called again and again by those
  // that spin; while it returns true, having found something to do, they spin on.
  explicit ArrivalGate(int size, std::function<bool()> meanwhile = nullptr);

  // Counts the member in; the last one opens the gate. Every Arrive is followed by Wait until that is not kTimedOut.
  Ticket Arrive(int member);
  Outcome Wait(Ticket ticket, absl::Time deadline);
  // For good: those who wait, unless the gate has opened for them, and all who arrive later get kBroken. Any thread.
  void Break();
  // Break, unless the gate has opened for `ticket` or is broken already; says whether it did.
  bool BreakUnlessOpened(Ticket ticket);
  bool broken() const { return (word_.load(std::memory_order_acquire) & kBrokenBit) != 0; }
  // Members that have not arrived for `ticket`.
  std::vector<int> Missing(Ticket ticket) const;

 private:
  static constexpr uint32_t kBrokenBit = 1;
  struct alignas(64) Member {
    std::atomic<uint32_t> next_ticket{0};
    std::atomic<int> processor{-1};  // where it arrived last
  };

  bool WorthSpinning(Ticket ticket) const;
  void WakeSleepers();

  const int size_;
  const int spins_;
  const std::function<bool()> meanwhile_;
  const std::unique_ptr<Member[]> members_;
  alignas(64) std::atomic<uint32_t> word_{0};  // 2 * the ticket that is collected now + kBrokenBit
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<int> num_arrived_{0};
};

}  // namespace switchyard
