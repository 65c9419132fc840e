// Gloo between processes of their own: the conformance test again, and what happens to the others when one of them
// dies or stalls. The test starts its own program once per rank; such a process runs a part by name and exits.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "parallel/rendezvous.h"
#include "tests/parallel/communicators/conformance.h"
#include "tests/parallel/communicators/group_factory.h"

extern char** environ;

namespace switchyard {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Seconds(3);

// The rank processes --------------------------------------------------------------------------------------------------

struct Part {
  std::string name;
  int rank = 0;
  int size = 0;
  int port = 0;
  std::string status_path;  // where a rank writes the status that it saw
};

void WriteStatus(const Part& part, const absl::Status& status) {
  std::ofstream(part.status_path) << static_cast<int>(status.code()) << " " << status.message();
}

// Calls collectives until one fails.
absl::Status RunUntilFailure(Communicator& communicator, size_t elements) {
  std::vector<float> data(elements);
  for (;;) {
    const absl::Status status = communicator.AllReduceSum(TensorView::Of(std::span(data)));
    if (!status.ok()) return status;
  }
}

// The process exits with 0 where its part went as it should.
int RunPart(const Part& part) {
  const absl::Duration timeout = part.name == "stall" ? kShort : kLong;
  const auto communicator = JoinGlooGroup(part.port, part.rank, part.size, timeout);
  if (communicator == nullptr) return 1;
  const bool last = part.rank == part.size - 1;
  if (part.name == "conform") {
    CheckAllCollectives(*communicator);
    return testing::Test::HasFailure() ? 1 : 0;
  }
  if (part.name == "die" && last) {
    CheckBarrier(*communicator);
    raise(SIGKILL);
  }
  if (part.name == "die_in_message" && last) {
    // Dies while others send to it and it sends to them.
    std::vector<float> data(5'000'000);
    alarm(1);
    signal(SIGALRM, [](int) { raise(SIGKILL); });
    WriteStatus(part, RunUntilFailure(*communicator, 5'000'000));
    return 1;
  }
  if (part.name == "stall" && last) {
    CheckBarrier(*communicator);
    raise(SIGSTOP);
    return 0;
  }
  if (part.name != "die_in_message") CheckBarrier(*communicator);
  const absl::Status status = RunUntilFailure(*communicator, part.name == "die_in_message" ? 5'000'000 : 100);
  WriteStatus(part, status);
  return 0;
}

// The test ------------------------------------------------------------------------------------------------------------

class GlooProcesses : public testing::Test {
 protected:
  void Start(const std::string& name, int size) {
    server_ = *StartRendezvousServer("127.0.0.1", 0);
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    ASSERT_GT(length, 0);
    program[length] = '\0';
    for (int rank = 0; rank < size; ++rank) {
      status_paths_.push_back(absl::StrCat(testing::TempDir(), "/gloo_process_test.", getpid(), ".", name, ".", rank));
      std::vector<std::string> arguments = {program,
                                            "--part",
                                            name,
                                            std::to_string(rank),
                                            std::to_string(size),
                                            std::to_string(server_->port()),
                                            status_paths_.back()};
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      pid_t pid = 0;
      ASSERT_EQ(posix_spawn(&pid, program, nullptr, nullptr, argv.data(), environ), 0);
      processes_.push_back(pid);
    }
  }

  // As waitpid's status.
  int WaitFor(int rank) {
    int state = 0;
    EXPECT_EQ(waitpid(processes_[rank], &state, 0), processes_[rank]);
    processes_[rank] = 0;
    return state;
  }

  absl::Status StatusOf(int rank) {
    std::ifstream file(status_paths_[rank]);
    int code = 0;
    file >> code;
    file.ignore(1);
    std::stringstream text;
    text << file.rdbuf();
    return absl::Status(static_cast<absl::StatusCode>(code), text.str());
  }

  void TearDown() override {
    for (const pid_t pid : processes_) {
      if (pid == 0) continue;
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    for (const std::string& path : status_paths_) std::remove(path.c_str());
  }

  std::unique_ptr<RendezvousServer> server_;
  std::vector<pid_t> processes_;
  std::vector<std::string> status_paths_;
};

TEST_F(GlooProcesses, PassTheConformanceTest) {
  for (const int size : {1, 2, 3}) {
    processes_.clear();
    Start("conform", size);
    for (int rank = 0; rank < size; ++rank) EXPECT_EQ(WaitFor(rank), 0) << "rank " << rank << " of " << size;
  }
}

TEST_F(GlooProcesses, ReportTheRankThatWasKilled) {
  Start("die", 3);
  EXPECT_TRUE(WIFSIGNALED(WaitFor(2)));
  for (const int rank : {0, 1}) {
    EXPECT_EQ(WaitFor(rank), 0);
    EXPECT_EQ(StatusOf(rank).code(), absl::StatusCode::kUnavailable) << StatusOf(rank);
    EXPECT_NE(StatusOf(rank).message().find("rank 2 is lost"), std::string::npos) << StatusOf(rank);
  }
}

TEST_F(GlooProcesses, ReportTheRankThatWasKilledWithinAMessage) {
  Start("die_in_message", 2);
  EXPECT_TRUE(WIFSIGNALED(WaitFor(1)));
  EXPECT_EQ(WaitFor(0), 0);
  EXPECT_EQ(StatusOf(0).code(), absl::StatusCode::kUnavailable) << StatusOf(0);
  EXPECT_NE(StatusOf(0).message().find("rank 1 is lost"), std::string::npos) << StatusOf(0);
}

TEST_F(GlooProcesses, ReportTheRankThatStalls) {
  Start("stall", 3);
  for (const int rank : {0, 1}) {
    EXPECT_EQ(WaitFor(rank), 0);
    EXPECT_EQ(StatusOf(rank).code(), absl::StatusCode::kDeadlineExceeded) << StatusOf(rank);
    EXPECT_NE(StatusOf(rank).message().find("rank 2 did not take part"), std::string::npos) << StatusOf(rank);
  }
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc == 7 && std::string(argv[1]) == "--part") {
    switchyard::Part part{.name = argv[2], .status_path = argv[6]};
    if (!absl::SimpleAtoi(argv[3], &part.rank) || !absl::SimpleAtoi(argv[4], &part.size) ||
        !absl::SimpleAtoi(argv[5], &part.port)) {
      return 2;
    }
    return switchyard::RunPart(part);
  }
  return RUN_ALL_TESTS();
}
