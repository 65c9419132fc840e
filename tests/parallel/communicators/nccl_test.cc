// NcclCommunicator over the fake NCCL (tests/emulation/fake_nccl), with ranks as threads: the conformance test, and
// what becomes of all ranks when one is silent, aborts, is lost, or when NCCL fails.
#include "parallel/communicators/nccl.h"

#include <gtest/gtest.h>

#include <thread>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "parallel/communicators/device_ranks.h"
#include "tests/emulation/fake_nccl/fake_nccl.h"
#include "tests/parallel/communicators/conformance.h"
#include "tests/parallel/communicators/half_sums.h"
#include "tests/parallel/communicators/nccl_group.h"
#include "tests/parallel/communicators/through_device.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

using fake_nccl::Queueing;

constexpr absl::Duration kLimit = absl::Milliseconds(300);
// Beyond it a failure was not noticed: far more than the busiest machine takes.
constexpr absl::Duration kSoon = absl::Seconds(60);

std::string NameOf(Queueing queueing) { return queueing == Queueing::kAtOnce ? "QueuedAtOnce" : "QueuedWhenDone"; }

void ExpectStatus(const absl::Status& status, absl::StatusCode code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
}

absl::Status AwaitFailure(const Communicator& communicator) {
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  while (communicator.Health().ok() && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(5));
  return communicator.Health();
}

// One step of one all-reduce; its results are not looked at.
absl::Status RunStep(Communicator& communicator, EmulatedGpu& gpu) {
  std::vector<float> data(1000);
  communicator.BeginStep();
  communicator.AllReduceSum(TensorView::Of(std::span(data))).IgnoreError();
  gpu.Synchronize().IgnoreError();
  return communicator.EndStep();
}

class NcclOfSize : public testing::TestWithParam<std::tuple<Queueing, int>> {};

TEST_P(NcclOfSize, PassesTheConformanceTest) {
  const auto [queueing, size] = GetParam();
  fake_nccl::Reset();
  fake_nccl::SetQueueing(queueing);
  const auto group = MakeNcclGroup(size, {});
  RunRanks(size, [&](int rank) {
    ASSERT_TRUE(group->created[rank].ok()) << group->created[rank];
    const auto communicator = ThroughDevice(*group->ranks[rank], *group->gpus[rank]);
    CheckAllCollectives(*communicator);
    CheckHalfSums(*communicator);
    EXPECT_EQ(communicator->rank(), rank);
    EXPECT_EQ(communicator->size(), size);
  });
}

INSTANTIATE_TEST_SUITE_P(Fake, NcclOfSize,
                         testing::Combine(testing::Values(Queueing::kWhenDone, Queueing::kAtOnce),
                                          testing::Values(1, 2, 3)),
                         [](const auto& info) {
                           return absl::StrCat(NameOf(std::get<0>(info.param)), std::get<1>(info.param), "Ranks");
                         });

class Nccl : public testing::Test {
 protected:
  Nccl() { fake_nccl::Reset(); }
};

TEST_F(Nccl, IsNamedWithItsVersionAndCanBeRecorded) {
  fake_nccl::SetVersion(23007);
  const auto group = MakeNcclGroup(1, {});
  ASSERT_TRUE(group->created[0].ok()) << group->created[0];
  EXPECT_EQ(group->ranks[0]->transport(), "nccl 2.30.7");
  EXPECT_TRUE(group->ranks[0]->can_record());
}

TEST_F(Nccl, IsDestroyedWithoutAnAbortWhereAllIsWell) {
  auto group = MakeNcclGroup(2, {});
  RunRanks(2, [&](int rank) { EXPECT_TRUE(RunStep(*group->ranks[rank], *group->gpus[rank]).ok()); });
  group = nullptr;
  EXPECT_EQ(fake_nccl::NumDestroys(), 2);
  EXPECT_EQ(fake_nccl::NumAborts(), 0);
}

TEST_F(Nccl, ReplaysRecordedCollectives) {
  const auto group = MakeNcclGroup(2, {});
  RunRanks(2, [&](int rank) {
    Communicator& communicator = *group->ranks[rank];
    std::vector<float> sums(4), gathered(8);
    RecordedCalls calls(*group->gpus[rank], [&] {
      absl::Status status = communicator.AllReduceSum(TensorView::Of(std::span(sums)));
      status.Update(communicator.AllGather(TensorView::Of(std::span(sums)), TensorView::Of(std::span(gathered))));
      return status;
    });
    for (const float value : {1.0f, 5.0f}) {
      std::fill(sums.begin(), sums.end(), value + rank);
      communicator.BeginStep();
      calls.Replay();
      EXPECT_TRUE(communicator.EndStep().ok());
      EXPECT_EQ(gathered, std::vector<float>(8, 2 * value + 1));
    }
  });
}

TEST_F(Nccl, RefusesToShareAGpuBeforeVersion2_30) {
  auto group = MakeNcclGroup(2, {.shares_device = true});
  for (const absl::Status& status : group->created) {
    ExpectStatus(status, absl::StatusCode::kFailedPrecondition, "NCCL 2.28.9 does not let ranks share a GPU");
  }
  RunRanks(2, [&](int rank) { EXPECT_TRUE(group->hosts[rank]->Barrier().ok()); });
  fake_nccl::SetVersion(23000);
  group = MakeNcclGroup(2, {.shares_device = true});
  for (const absl::Status& status : group->created) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(Nccl, IsReplacedByStagingWhereRanksShareAGpuAndTheLibraryIsOld) {
  for (const int version : {22809, 23000}) {
    for (const std::string second : {"GPU-a", "GPU-b"}) {
      fake_nccl::SetVersion(version);
      const auto hosts = MakeGroup(Transport::kInProcess, 2, absl::Seconds(60));
      RunRanks(2, [&](int rank) {
        EmulatedGpu gpu;
        const auto connected = ConnectDevice({.device_id = rank == 0 ? "GPU-a" : second}, *hosts[rank], gpu);
        ASSERT_TRUE(connected.ok()) << connected.status();
        const bool staged = second == "GPU-a" && version < 23000;
        EXPECT_EQ(absl::StartsWith(connected->get().transport(), "nccl"), !staged);
        EXPECT_EQ(absl::StrContains(connected->staged_because, "share a GPU"), staged) << connected->staged_because;
        CheckBarrier(connected->get());
      });
    }
  }
}

TEST_F(Nccl, GivesUpAnInitialisationThatNeverEnds) {
  fake_nccl::HoldInitialization();
  const absl::Time begin = absl::Now();
  const auto group = MakeNcclGroup(3, {.connect_timeout = kLimit});
  EXPECT_LT(absl::Now() - begin, kSoon);
  for (const absl::Status& status : group->created) {
    ExpectStatus(status, absl::StatusCode::kDeadlineExceeded, "not complete within 300ms");
    ExpectStatus(status, absl::StatusCode::kDeadlineExceeded, "initialisation");
    EXPECT_EQ(status, group->created[0]);
  }
  EXPECT_EQ(fake_nccl::NumAborts(), 3);
}

TEST_F(Nccl, GivesAllRanksTheReasonWhyOneCannotTakePart) {
  const auto hosts = MakeGroup(Transport::kInProcess, 2, absl::Seconds(60));
  const absl::Status reason = absl::ResourceExhaustedError("rank 1 has no memory left");
  RunRanks(2, [&](int rank) {
    if (rank == 1) {
      hosts[1]->Abort(reason);
      return;
    }
    EmulatedGpu gpu;
    EXPECT_EQ(CreateNcclCommunicator({}, *hosts[0], gpu).status(), reason);
  });
}

// Failures while another rank waits: with kWhenDone in the call itself, with kAtOnce for the device.
class NcclFailure : public testing::TestWithParam<Queueing> {
 protected:
  void SetUp() override {
    fake_nccl::Reset();
    fake_nccl::SetQueueing(GetParam());
  }
};

TEST_P(NcclFailure, OfASilentRankIsNoticedAtTheEndOfTheStepsTimeLimit) {
  auto group = MakeNcclGroup(2, {.step_timeout = kLimit});
  const absl::Time begin = absl::Now();
  const absl::Status status = RunStep(*group->ranks[0], *group->gpus[0]);
  EXPECT_GE(absl::Now() - begin, kLimit);
  EXPECT_LT(absl::Now() - begin, kSoon);
  ExpectStatus(status, absl::StatusCode::kDeadlineExceeded, "rank 0: collectives were not complete within 300ms");
  ExpectStatus(status, absl::StatusCode::kDeadlineExceeded, "all_reduce");
  // Final, on this rank and on the one that was silent.
  EXPECT_EQ(group->ranks[0]->Barrier(), status);
  EXPECT_EQ(AwaitFailure(*group->ranks[1]), status);
  EXPECT_EQ(RunStep(*group->ranks[1], *group->gpus[1]), status);
  group = nullptr;
  EXPECT_EQ(fake_nccl::NumAborts(), 2);
  EXPECT_EQ(fake_nccl::NumDestroys(), 0);
}

TEST_P(NcclFailure, OfASilentRankIsNoticedInABarrierOutsideOfSteps) {
  const auto group = MakeNcclGroup(2, {.step_timeout = kLimit});
  ExpectStatus(group->ranks[1]->Barrier(), absl::StatusCode::kDeadlineExceeded,
               "rank 1: collectives were not complete within 300ms; the last call: barrier");
}

TEST_P(NcclFailure, DoesNotComeOfTimeBetweenSteps) {
  constexpr absl::Duration limit = absl::Seconds(2);  // within which a step must end, even on a busy machine
  const auto group = MakeNcclGroup(2, {.step_timeout = limit});
  RunRanks(2, [&](int rank) {
    for (int step = 0; step < 2; ++step) {
      EXPECT_TRUE(RunStep(*group->ranks[rank], *group->gpus[rank]).ok());
      if (step == 0) absl::SleepFor(limit + absl::Milliseconds(100));
    }
  });
}

TEST_P(NcclFailure, ByAnAbortFreesTheOthersWithItsReason) {
  const auto group = MakeNcclGroup(3, {});
  const absl::Status reason = absl::UnavailableError("rank 2 ran out of pages");
  RunRanks(3, [&](int rank) {
    if (rank == 2) {
      absl::SleepFor(absl::Milliseconds(100));
      group->ranks[2]->Abort(reason);
    }
    EXPECT_EQ(RunStep(*group->ranks[rank], *group->gpus[rank]), reason);
    EXPECT_EQ(group->hosts[rank]->Health(), reason);
  });
}

TEST_P(NcclFailure, NamesTheRankWhoseProcessIsLost) {
  auto group = MakeNcclGroup(3, {}, Transport::kGlooThreads);
  RunRanks(3, [&](int rank) {
    if (rank == 2) {
      // As its process would end: NCCL notices on rank 0, before Gloo may have.
      fake_nccl::InjectAsyncError(0, ncclRemoteError);
      group->ranks[2] = nullptr;
      group->hosts[2] = nullptr;
      return;
    }
    ExpectStatus(RunStep(*group->ranks[rank], *group->gpus[rank]), absl::StatusCode::kUnavailable, "rank 2 is lost");
  });
}

TEST_P(NcclFailure, OfNcclItselfEndsAllRanks) {
  const auto group = MakeNcclGroup(2, {});
  fake_nccl::InjectAsyncError(1, ncclRemoteError);
  const absl::Status status = RunStep(*group->ranks[0], *group->gpus[0]);
  ExpectStatus(status, absl::StatusCode::kUnavailable, "rank 1: NCCL, a collective: remote process exited");
  EXPECT_EQ(AwaitFailure(*group->ranks[1]), status);
}

TEST_P(NcclFailure, OfDifferentCallsIsInternal) {
  const auto group = MakeNcclGroup(2, {});
  RunRanks(2, [&](int rank) {
    std::vector<float> data(rank == 0 ? 4 : 8);
    group->ranks[rank]->BeginStep();
    group->ranks[rank]->AllReduceSum(TensorView::Of(std::span(data))).IgnoreError();
    group->gpus[rank]->Synchronize().IgnoreError();
    ExpectStatus(group->ranks[rank]->EndStep(), absl::StatusCode::kInternal, "invalid usage");
  });
}

TEST_P(NcclFailure, LetsTheRankDestroyWhatItsPeersStillWaitFor) {
  auto group = MakeNcclGroup(2, {.step_timeout = kLimit});
  std::thread waiting([&] { EXPECT_FALSE(RunStep(*group->ranks[0], *group->gpus[0]).ok()); });
  group->ranks[1] = nullptr;
  waiting.join();
  const absl::Time begin = absl::Now();
  group = nullptr;
  EXPECT_LT(absl::Now() - begin, kSoon);
}

INSTANTIATE_TEST_SUITE_P(Fake, NcclFailure, testing::Values(Queueing::kWhenDone, Queueing::kAtOnce),
                         [](const auto& info) { return NameOf(info.param); });

TEST_F(Nccl, AbortsAReplayThatWaitsForASilentRank) {
  const auto group = MakeNcclGroup(2, {.step_timeout = kLimit});
  RunRanks(2, [&](int rank) {
    std::vector<float> data(4);
    RecordedCalls calls(*group->gpus[rank],
                        [&] { return group->ranks[rank]->AllReduceSum(TensorView::Of(std::span(data))); });
    if (rank == 1) return;
    group->ranks[0]->BeginStep();
    calls.Replay();
    ExpectStatus(group->ranks[0]->EndStep(), absl::StatusCode::kDeadlineExceeded, "within 300ms");
  });
}

// NCCL's last calls block while a graph holds one of its collectives; the destructor does not.
TEST_F(Nccl, LeavesNcclBehindRatherThanHang) {
  auto group = MakeNcclGroup(1, {});
  std::vector<float> data(4);
  {
    RecordedCalls calls(*group->gpus[0],
                        [&] { return group->ranks[0]->AllReduceSum(TensorView::Of(std::span(data))); });
    const absl::Time begin = absl::Now();
    group->ranks[0] = nullptr;
    EXPECT_LT(absl::Now() - begin, kSoon);
  }
  // The thread that was left behind comes to its end.
  for (const absl::Time end = absl::Now() + kSoon; fake_nccl::NumCommunicators() > 0 && absl::Now() < end;) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(fake_nccl::NumCommunicators(), 0);
}

}  // namespace
}  // namespace switchyard
