#include "parallel/communicators/arrival_gate.h"

#include <sched.h>

#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "parallel/communicators/futex.h"

namespace switchyard {
namespace {

// Of a pause instruction each: some 20 to 80 us on current processors, the length of a small collective.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ArrivalGate::ArrivalGate(int size, std::function<bool()> meanwhile)
    : size_(size),
      spins_(size <= static_cast<int>(std::thread::hardware_concurrency()) ? kSpins : 0),
      meanwhile_(std::move(meanwhile)),
      members_(new Member[size]) {}

ArrivalGate::Ticket ArrivalGate::Arrive(int member) {
  // Stable: the gate cannot move on before this member arrives. Tickets have 31 bits and wrap around.
  const Ticket ticket = word_.load(std::memory_order_acquire) >> 1;
  members_[member].next_ticket.store(ticket + 1, std::memory_order_relaxed);
  if (spins_ > 0) members_[member].processor.store(sched_getcpu(), std::memory_order_relaxed);
  if (num_arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    num_arrived_.store(0, std::memory_order_relaxed);
    uint32_t expected = ticket << 1;
    if (word_.compare_exchange_strong(expected, (ticket + 1) << 1)) WakeSleepers();
  }
  return ticket;
}

ArrivalGate::Outcome ArrivalGate::Wait(Ticket ticket, absl::Time deadline) {
  const uint32_t closed = ticket << 1;
  const auto judge = [&](uint32_t word) { return word >> 1 == ticket ? Outcome::kBroken : Outcome::kOpened; };
  const int spins = WorthSpinning(ticket) ? spins_ : 0;
  for (int spin = 0; spin < spins; ++spin) {
    const uint32_t word = word_.load(std::memory_order_acquire);
    if (word != closed) return judge(word);
    if (meanwhile_ != nullptr && meanwhile_()) spin = 0;
    Pause();
  }
  // Sequentially consistent with WakeSleepers: either that sees this sleeper, or the sleeper sees the new word.
  sleepers_.fetch_add(1);
  uint32_t word = word_.load();
  while (word == closed && absl::Now() < deadline) {
    FutexWait(word_, closed, deadline);
    word = word_.load();
  }
  sleepers_.fetch_sub(1);
  return word == closed ? Outcome::kTimedOut : judge(word);
}

void ArrivalGate::Break() {
  word_.fetch_or(kBrokenBit);
  WakeSleepers();
}

bool ArrivalGate::BreakUnlessOpened(Ticket ticket) {
  uint32_t expected = ticket << 1;
  if (!word_.compare_exchange_strong(expected, expected | kBrokenBit)) return false;
  WakeSleepers();
  return true;
}

std::vector<int> ArrivalGate::Missing(Ticket ticket) const {
  std::vector<int> missing;
  for (int member = 0; member < size_; ++member) {
    if (members_[member].next_ticket.load(std::memory_order_relaxed) != ticket + 1) missing.push_back(member);
  }
  return missing;
}

bool ArrivalGate::WorthSpinning(Ticket ticket) const {
  if (spins_ == 0 || size_ == 1) return false;
  const int here = sched_getcpu();
  for (int member = 0; member < size_; ++member) {
    if (members_[member].next_ticket.load(std::memory_order_relaxed) != ticket + 1 &&
        members_[member].processor.load(std::memory_order_relaxed) == here) {
      return false;
    }
  }
  return true;
}

void ArrivalGate::WakeSleepers() {
  if (sleepers_.load() > 0) FutexWakeAll(word_);
}

}  // namespace switchyard
