// What Health() says of the CPU's communicators: a GPU's communicator watches it.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "parallel/communicator.h"
#include "parallel/communicators/agreement.h"
#include "tests/parallel/communicators/group_factory.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

// The first failure that an idle communicator knows of.
absl::Status AwaitFailure(const Communicator& communicator) {
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  while (communicator.Health().ok() && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(5));
  return communicator.Health();
}

class CommunicatorHealth : public testing::TestWithParam<Transport> {};

TEST_P(CommunicatorHealth, IsOkUntilARankAborts) {
  const auto group = MakeGroup(GetParam(), 3, kLong);
  RunRanks(3, [&](int rank) { EXPECT_TRUE(group[rank]->Barrier().ok()); });
  for (const auto& communicator : group) EXPECT_TRUE(communicator->Health().ok());
}

TEST_P(CommunicatorHealth, TellsTheReasonOfAnAbortToRanksThatAreIdle) {
  const auto group = MakeGroup(GetParam(), 3, kLong);
  const absl::Status reason = absl::UnavailableError("rank 1 ran out of memory");
  group[1]->Abort(reason);
  for (const auto& communicator : group) EXPECT_EQ(AwaitFailure(*communicator), reason);
}

// Whoever asks all the time hears of nothing before the reason: a rank that was told closes its connections as well.
TEST_P(CommunicatorHealth, TellsNothingBeforeTheReasonOfAnAbort) {
  const absl::Status reason = absl::UnavailableError("rank 1 ran out of memory");
  for (int round = 0; round < 10; ++round) {
    const auto group = MakeGroup(GetParam(), 3, kLong);
    RunRanks(3, [&](int rank) {
      if (rank == 1) return group[rank]->Abort(reason);
      const absl::Time limit = absl::Now() + kLong;
      absl::Status first;
      while (first.ok() && absl::Now() < limit) first = group[rank]->Health();
      EXPECT_EQ(first, reason);
    });
  }
}

// Rank 1 gives up in the middle of a call, in which rank 2 waits for rank 0 as well; rank 0 is idle.
TEST_P(CommunicatorHealth, TellsTheReasonOfARankThatHadDoneItsPart) {
  const auto group = MakeGroup(GetParam(), 3, kLong);
  const absl::Status reason = absl::UnavailableError("rank 1 ran out of memory");
  RunRanks(4, [&](int thread) {
    if (thread == 3) {
      absl::SleepFor(absl::Milliseconds(200));  // the others' parts are under way
      group[1]->Abort(reason);
    } else if (thread == 0) {
      EXPECT_EQ(AwaitFailure(*group[0]), reason);
    } else {
      EXPECT_EQ(group[thread]->Barrier(), reason);
      EXPECT_EQ(group[thread]->Health(), reason);
    }
  });
}

TEST_P(CommunicatorHealth, IsWhatFurtherCallsReturn) {
  const auto group = MakeGroup(GetParam(), 2, absl::Milliseconds(200));
  const absl::Status failure = group[0]->Barrier();
  EXPECT_TRUE(absl::IsDeadlineExceeded(failure)) << failure;
  EXPECT_EQ(group[0]->Health(), failure);
  EXPECT_EQ(group[0]->Barrier(), failure);
}

INSTANTIATE_TEST_SUITE_P(Transports, CommunicatorHealth,
                         testing::Values(Transport::kInProcess, Transport::kGlooThreads),
                         [](const auto& info) { return TransportName(info.param); });

TEST(GlooHealth, NamesALostRankToRanksThatAreIdle) {
  auto group = MakeGroup(Transport::kGlooThreads, 3, kLong);
  RunRanks(3, [&](int rank) { EXPECT_TRUE(group[rank]->Barrier().ok()); });
  group[1] = nullptr;
  for (const int rank : {0, 2}) {
    const absl::Status failure = AwaitFailure(*group[rank]);
    EXPECT_TRUE(absl::IsUnavailable(failure)) << failure;
    EXPECT_TRUE(absl::StrContains(failure.message(), "rank 1 is lost")) << failure;
  }
}

TEST(Agree, GivesAllRanksTheFailureOfTheLowestThatHasOne) {
  const auto group = MakeGroup(Transport::kInProcess, 4, kLong);
  RunRanks(4, [&](int rank) {
    EXPECT_TRUE(Agree(*group[rank], absl::OkStatus()).ok());
    const absl::Status own = rank < 2 ? absl::OkStatus() : absl::NotFoundError(std::string(1000, 'a' + rank));
    const absl::Status agreed = Agree(*group[rank], own);
    EXPECT_TRUE(absl::IsNotFound(agreed)) << agreed;
    EXPECT_TRUE(absl::StrContains(agreed.message(), "rank 2: cccc")) << agreed;
    EXPECT_TRUE(group[rank]->Barrier().ok());
  });
}

}  // namespace
}  // namespace switchyard
