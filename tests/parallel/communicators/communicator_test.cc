// One conformance test of every collective over shared memory and over Gloo, with ranks as threads.
#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/parallel/communicators/conformance.h"
#include "tests/parallel/communicators/group_factory.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

class CommunicatorOfSize : public testing::TestWithParam<std::tuple<Transport, int>> {
 protected:
  void ForEachRank(const std::function<void(Communicator&)>& check) {
    const auto [transport, size] = GetParam();
    const auto group = MakeGroup(transport, size, kLong);
    RunRanks(size, [&](int rank) { check(*group[rank]); });
  }
};

TEST_P(CommunicatorOfSize, Barrier) { ForEachRank(CheckBarrier); }
TEST_P(CommunicatorOfSize, BroadcastsFromEveryRoot) { ForEachRank(CheckBroadcast); }
TEST_P(CommunicatorOfSize, AllReducesInRankOrder) { ForEachRank(CheckAllReduceSum); }
TEST_P(CommunicatorOfSize, ReduceScattersInRankOrder) { ForEachRank(CheckReduceScatterSum); }
TEST_P(CommunicatorOfSize, AllGathersSeveralTensorsAtOnce) { ForEachRank(CheckAllGather); }
TEST_P(CommunicatorOfSize, CarriesRowsOfAnyCountsToTheirRanks) { ForEachRank(CheckAllToAllRows); }
TEST_P(CommunicatorOfSize, MixesCollectives) { ForEachRank(CheckAllCollectives); }

TEST_P(CommunicatorOfSize, KnowsItsPlace) {
  const auto [transport, size] = GetParam();
  const auto group = MakeGroup(transport, size, kLong);
  for (int rank = 0; rank < size; ++rank) {
    EXPECT_EQ(group[rank]->rank(), rank);
    EXPECT_EQ(group[rank]->size(), size);
    EXPECT_EQ(group[rank]->transport(), transport == Transport::kInProcess ? "shared memory" : "gloo/tcp");
  }
}

std::string NameOf(const testing::TestParamInfo<std::tuple<Transport, int>>& info) {
  return TransportName(std::get<0>(info.param)) + std::to_string(std::get<1>(info.param)) + "Ranks";
}
INSTANTIATE_TEST_SUITE_P(Transports, CommunicatorOfSize,
                         testing::Combine(testing::Values(Transport::kInProcess, Transport::kGlooThreads),
                                          testing::Values(1, 2, 3, 5)),
                         NameOf);

class CommunicatorFailure : public testing::TestWithParam<Transport> {
 protected:
  // Every rank's status of one collective of its own choice, and of a Barrier after it.
  std::vector<absl::Status> Run(int size, absl::Duration timeout,
                                const std::function<absl::Status(Communicator&)>& call) {
    const auto group = MakeGroup(GetParam(), size, timeout);
    std::vector<absl::Status> statuses(size);
    RunRanks(size, [&](int rank) {
      statuses[rank] = call(*group[rank]);
      if (!statuses[rank].ok()) {
        EXPECT_EQ(group[rank]->Barrier(), statuses[rank]) << "the first failure is not final";
      }
    });
    return statuses;
  }

  static void ExpectStatus(const absl::Status& status, absl::StatusCode code, const std::string& words) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
  }
};

TEST_P(CommunicatorFailure, NamesBothRanksWhoseTensorsDifferInSize) {
  for (const size_t larger : {size_t{8}, size_t{100000}}) {
    const auto statuses = Run(2, kLong, [&](Communicator& communicator) {
      std::vector<float> data(communicator.rank() == 0 ? 4 : larger);
      return communicator.AllReduceSum(TensorView::Of(std::span(data)));
    });
    for (const absl::Status& status : statuses) {
      ExpectStatus(status, absl::StatusCode::kInternal, "rank 0 called all_reduce of 16 bytes");
      ExpectStatus(status, absl::StatusCode::kInternal, absl::StrCat("rank 1 called all_reduce of ", 4 * larger));
    }
  }
}

TEST_P(CommunicatorFailure, NamesBothRanksThatCallDifferentCollectives) {
  const auto statuses = Run(2, kLong, [](Communicator& communicator) {
    std::vector<float> data(4);
    if (communicator.rank() == 0) return communicator.Broadcast(TensorView::Of(std::span(data)), 1);
    return communicator.Barrier();
  });
  for (const absl::Status& status : statuses) {
    ExpectStatus(status, absl::StatusCode::kInternal, "rank 0 called broadcast from rank 1");
    ExpectStatus(status, absl::StatusCode::kInternal, "rank 1 called barrier");
  }
}

TEST_P(CommunicatorFailure, NamesTheRanksThatDisagreeAboutRows) {
  const auto statuses = Run(3, kLong, [](Communicator& communicator) {
    const int64_t sent = 2;
    // Rank 2 expects three rows of rank 1, which sends two.
    std::vector<int64_t> send_rows(3, sent), recv_rows(3, sent);
    if (communicator.rank() == 2) recv_rows[1] = 3;
    std::vector<float> send(3 * sent), recv(3 * sent + (communicator.rank() == 2 ? 1 : 0));
    return communicator.AllToAllRows(TensorView::Of(std::span(send), {6, 1}), send_rows,
                                     TensorView::Of(std::span(recv), {static_cast<int64_t>(recv.size()), 1}),
                                     recv_rows);
  });
  ExpectStatus(statuses[2], absl::StatusCode::kInternal, "rank 1 sends 2 rows to rank 2, which expects 3");
}

TEST_P(CommunicatorFailure, NamesTheRankThatStaysAway) {
  const auto statuses = Run(3, absl::Seconds(3), [](Communicator& communicator) {
    return communicator.rank() == 1 ? absl::OkStatus() : communicator.Barrier();
  });
  for (const int rank : {0, 2}) {
    ExpectStatus(statuses[rank], absl::StatusCode::kDeadlineExceeded, "barrier: rank 1 did not take part within 3s");
  }
}

TEST_P(CommunicatorFailure, NamesTheRankThatStaysAwayFromALargeTransfer) {
  const auto statuses = Run(2, absl::Milliseconds(500), [](Communicator& communicator) {
    std::vector<float> data(5000000);
    return communicator.rank() == 1 ? absl::OkStatus() : communicator.Broadcast(TensorView::Of(std::span(data)), 0);
  });
  ExpectStatus(statuses[0], absl::StatusCode::kDeadlineExceeded, "broadcast: rank 1 did not take part");
}

TEST_P(CommunicatorFailure, AbortFromAnotherThreadEndsThePendingCallOfEveryRank) {
  const auto group = MakeGroup(GetParam(), 4, kLong);
  const absl::Status reason = absl::UnavailableError("rank 3 ran out of memory");
  std::vector<absl::Status> statuses(4);
  RunRanks(4, [&](int rank) {
    if (rank == 3) {
      std::thread([&] { group[3]->Abort(reason); }).join();
      statuses[3] = group[3]->Barrier();
    } else {
      statuses[rank] = group[rank]->Barrier();
    }
  });
  for (const absl::Status& status : statuses) EXPECT_EQ(status, reason);
}

TEST_P(CommunicatorFailure, AbortEndsTheCallThatItsOwnRankWaitsIn) {
  const auto group = MakeGroup(GetParam(), 2, kLong);
  const absl::Status reason = absl::CancelledError("the server is shutting down");
  absl::Status status;
  std::thread rank([&] { status = group[0]->Barrier(); });
  group[0]->Abort(reason);
  rank.join();
  EXPECT_EQ(status, reason);
  // The other rank was in no call: over a network it may find the connection closed before it has read why.
  const absl::Status elsewhere = group[1]->Barrier();
  if (elsewhere != reason) {
    EXPECT_EQ(GetParam(), Transport::kGlooThreads);
    EXPECT_TRUE(absl::IsUnavailable(elsewhere)) << elsewhere;
    EXPECT_TRUE(absl::StrContains(elsewhere.message(), "rank 0")) << elsewhere;
  }
}

TEST_P(CommunicatorFailure, TimeBetweenCallsDoesNotCount) {
  const auto group = MakeGroup(GetParam(), 2, absl::Seconds(2));
  RunRanks(2, [&](int rank) {
    EXPECT_TRUE(group[rank]->Barrier().ok());
    absl::SleepFor(absl::Milliseconds(2100));
    EXPECT_TRUE(group[rank]->Barrier().ok());
  });
}

INSTANTIATE_TEST_SUITE_P(Transports, CommunicatorFailure,
                         testing::Values(Transport::kInProcess, Transport::kGlooThreads),
                         [](const auto& info) { return TransportName(info.param); });

}  // namespace
}  // namespace switchyard
