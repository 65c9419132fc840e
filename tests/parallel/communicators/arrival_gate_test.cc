#include "parallel/communicators/arrival_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

using Outcome = ArrivalGate::Outcome;

// Plain memory that a member writes before the gate and all read after it; ThreadSanitizer sees a gate that leaks.
TEST(ArrivalGate, ShowsWhatWasWrittenBeforeItToAllAfterIt) {
  for (const int size : {1, 2, 7}) {
    ArrivalGate gate(size);
    std::vector<int> written(size);
    RunRanks(size, [&](int member) {
      for (int round = 1; round <= 500; ++round) {
        written[member] = round;
        ASSERT_EQ(gate.Wait(gate.Arrive(member), absl::InfiniteFuture()), Outcome::kOpened);
        for (const int value : written) ASSERT_EQ(value, round);
        ASSERT_EQ(gate.Wait(gate.Arrive(member), absl::InfiniteFuture()), Outcome::kOpened);
      }
    });
  }
}

// Member 0 waits for as long as there is something to do, and then some.
TEST(ArrivalGate, LetsThoseWhoSpinDoSomethingMeanwhile) {
  std::atomic<int> left{50};
  ArrivalGate gate(2, [&left] {
    if (left == 0) return false;
    --left;
    return true;
  });
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "nobody spins on one processor";
  const ArrivalGate::Ticket ticket = gate.Arrive(0);
  std::thread other([&] {
    while (left > 0) std::this_thread::yield();
    gate.Arrive(1);
  });
  EXPECT_EQ(gate.Wait(ticket, absl::InfiniteFuture()), Outcome::kOpened);
  other.join();
  EXPECT_EQ(left, 0);
}

TEST(ArrivalGate, TimesOutAndNamesTheMembersThatAreMissing) {
  ArrivalGate gate(3);
  const ArrivalGate::Ticket ticket = gate.Arrive(1);
  EXPECT_EQ(gate.Wait(ticket, absl::Now() + absl::Milliseconds(5)), Outcome::kTimedOut);
  EXPECT_EQ(gate.Missing(ticket), (std::vector<int>{0, 2}));
  EXPECT_TRUE(gate.BreakUnlessOpened(ticket));
  EXPECT_FALSE(gate.BreakUnlessOpened(ticket));
  EXPECT_EQ(gate.Wait(gate.Arrive(0), absl::InfiniteFuture()), Outcome::kBroken);
}

TEST(ArrivalGate, StaysOpenForThoseItHasOpenedForWhenItBreaksLater) {
  ArrivalGate gate(2);
  const ArrivalGate::Ticket first = gate.Arrive(0);
  gate.Arrive(1);
  EXPECT_FALSE(gate.BreakUnlessOpened(first));
  gate.Break();
  EXPECT_TRUE(gate.broken());
  EXPECT_EQ(gate.Wait(first, absl::InfiniteFuture()), Outcome::kOpened);
  EXPECT_EQ(gate.Wait(gate.Arrive(0), absl::InfiniteFuture()), Outcome::kBroken);
}

// Members may differ in time, not in outcome.
TEST(ArrivalGate, GivesEveryMemberTheSameOutcomeWhenBreakingRacesWithOpening) {
  for (int round = 0; round < 300; ++round) {
    ArrivalGate gate(3);
    std::vector<Outcome> outcomes(3);
    RunRanks(4, [&](int member) {
      if (member == 3) {
        gate.Break();
      } else {
        outcomes[member] = gate.Wait(gate.Arrive(member), absl::InfiniteFuture());
      }
    });
    EXPECT_EQ(outcomes[0], outcomes[1]);
    EXPECT_EQ(outcomes[1], outcomes[2]);
  }
}

}  // namespace
}  // namespace switchyard
