// Processes of a launch as threads: ConnectRanks shares nothing between them.
#include "parallel/launch.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "parallel/rendezvous.h"
#include "tests/parallel/communicators/conformance.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

// Not one of those that the kernel gives to connections, which others may have by the time it is listened at.
int FreePort() {
  std::random_device random;
  while (true) {
    const int port = std::uniform_int_distribution(15000, 31999)(random);
    if (StartRendezvousServer("127.0.0.1", port).ok()) return port;
  }
}

LaunchSpec Spec(int port, int num_processes, int process_idx) {
  return {.master_port = port,
          .num_processes = num_processes,
          .process_idx = process_idx,
          .connect_timeout = absl::Minutes(2),
          .job = {{"model", "tiny-mixtral"}, {"--page-size", "16"}}};
}

void ExpectStatus(const absl::Status& status, absl::StatusCode code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_NE(status.message().find(words), std::string::npos) << status;
}

TEST(Launch, OneProcessSharesMemory) {
  LaunchSpec spec;
  spec.num_local_ranks = 3;
  const auto ranks = ConnectRanks(spec);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  EXPECT_EQ(ranks->world_size, 3);
  ASSERT_EQ(ranks->data.size(), 3u);
  ASSERT_EQ(ranks->control.size(), 3u);
  EXPECT_EQ(ranks->data[2]->rank(), 2);
  EXPECT_EQ(ranks->data[2]->transport(), "shared memory");
}

TEST(Launch, NumbersRanksByProcessAndConnectsThemAll) {
  const int port = FreePort();
  const int local[] = {1, 2, 1};
  const int first[] = {0, 1, 3};
  RunRanks(3, [&](int process) {
    LaunchSpec spec = Spec(port, 3, process);
    spec.num_local_ranks = local[process];
    const auto ranks = ConnectRanks(spec);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    EXPECT_EQ(ranks->world_size, 4);
    EXPECT_EQ(ranks->first_rank, first[process]);
    ASSERT_EQ(static_cast<int>(ranks->data.size()), local[process]);
    RunRanks(local[process], [&](int rank) {
      EXPECT_EQ(ranks->data[rank]->rank(), first[process] + rank);
      EXPECT_EQ(ranks->data[rank]->transport(), "gloo/tcp");
      CheckAllGather(*ranks->data[rank]);
      CheckBroadcast(*ranks->control[rank]);
    });
  });
}

TEST(Launch, NamesTheProcessesThatAreMissing) {
  const int port = FreePort();
  RunRanks(2, [&](int i) {
    LaunchSpec spec = Spec(port, 4, 2 * i);
    spec.connect_timeout = absl::Seconds(3);
    ExpectStatus(ConnectRanks(spec).status(), absl::StatusCode::kDeadlineExceeded, "2 of 4 processes");
    ExpectStatus(ConnectRanks(Spec(port, 1, 1)).status(), absl::StatusCode::kInvalidArgument, "RANK is 1");
  });
}

TEST(Launch, SaysThatTheMasterIsMissing) {
  LaunchSpec spec = Spec(FreePort(), 2, 1);
  spec.connect_timeout = absl::Milliseconds(50);
  ExpectStatus(ConnectRanks(spec).status(), absl::StatusCode::kDeadlineExceeded, "process 0 did not answer");
}

TEST(Launch, ShowsBothValuesOfWhatDiffers) {
  const int port = FreePort();
  RunRanks(3, [&](int process) {
    LaunchSpec spec = Spec(port, 3, process);
    if (process == 1) spec.job = {{"model", "tiny-mixtral"}, {"--page-size", "32"}, {"--later-flag", "on"}};
    const absl::Status status = ConnectRanks(spec).status();
    ExpectStatus(status, absl::StatusCode::kFailedPrecondition,
                 "--page-size is \"16\" in process 0 and \"32\" in process 1");
    ExpectStatus(status, absl::StatusCode::kFailedPrecondition,
                 "--later-flag is unknown in process 0 and \"on\" in process 1");
    EXPECT_EQ(status.message().find("tiny-mixtral"), std::string::npos) << "what agrees is left out: " << status;
  });
}

TEST(Launch, RefusesTwoProcessesOfOneNumber) {
  const auto server = StartRendezvousServer("127.0.0.1", 0);
  ASSERT_TRUE(server.ok());
  std::vector<absl::Status> statuses(2);
  RunRanks(2, [&](int i) {
    LaunchSpec spec = Spec((*server)->port(), 3, 1);
    spec.connect_timeout = absl::Seconds(3);
    statuses[i] = ConnectRanks(spec).status();
  });
  const int refused = statuses[0].code() == absl::StatusCode::kFailedPrecondition ? 0 : 1;
  ExpectStatus(statuses[refused], absl::StatusCode::kFailedPrecondition, "two processes have RANK 1");
  ExpectStatus(statuses[1 - refused], absl::StatusCode::kDeadlineExceeded, "2 of 3 processes");
}

TEST(Launch, RefusesNumbersThatCannotBe) {
  ExpectStatus(ConnectRanks(Spec(1, 0, 0)).status(), absl::StatusCode::kInvalidArgument, "WORLD_SIZE is 0");
  ExpectStatus(ConnectRanks(Spec(1, 2, 2)).status(), absl::StatusCode::kInvalidArgument, "RANK is 2");
  LaunchSpec spec;
  spec.num_local_ranks = 0;
  ExpectStatus(ConnectRanks(spec).status(), absl::StatusCode::kInvalidArgument, "ranks of a process is 0");
}

}  // namespace
}  // namespace switchyard
