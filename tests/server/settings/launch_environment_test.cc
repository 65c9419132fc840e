#include "server/settings/launch_environment.h"

#include <gtest/gtest.h>

#include <map>

namespace switchyard {
namespace {

absl::StatusOr<LaunchEnvironment> Read(const std::map<std::string, std::string>& variables) {
  return ReadLaunchEnvironment([&variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

TEST(LaunchEnvironment, IsOneProcessWithoutALauncher) {
  const auto launch = Read({{"MASTER_PORT", "1234"}});
  ASSERT_TRUE(launch.ok());
  EXPECT_EQ(launch->launch.num_processes, 1);
  EXPECT_EQ(launch->launch.process_idx, 0);
  EXPECT_EQ(launch->source, "single");
}

TEST(LaunchEnvironment, ReadsTorchrun) {
  const auto launch = Read({{"WORLD_SIZE", "4"},
                            {"RANK", "3"},
                            {"LOCAL_WORLD_SIZE", "2"},
                            {"LOCAL_RANK", "1"},
                            {"MASTER_ADDR", "10.0.0.1"},
                            {"MASTER_PORT", "2345"}});
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_EQ(launch->launch.num_processes, 4);
  EXPECT_EQ(launch->launch.process_idx, 3);
  EXPECT_EQ(launch->launch.master_addr, "10.0.0.1");
  EXPECT_EQ(launch->launch.master_port, 2345);
  EXPECT_EQ(launch->processes_on_host, 2);
  EXPECT_EQ(launch->process_idx_on_host, 1);
}

TEST(LaunchEnvironment, LeavesTorchrunItsOwnPort) {
  std::map<std::string, std::string> variables = {
      {"WORLD_SIZE", "2"}, {"RANK", "0"}, {"MASTER_PORT", "29400"}, {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
  EXPECT_EQ(Read(variables)->launch.master_port, 29401);
  variables["MASTER_PORT"] = "65535";
  EXPECT_EQ(Read(variables).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LaunchEnvironment, ReadsLeaderWorkerSet) {
  const auto launch = Read({{"LWS_GROUP_SIZE", "3"}, {"LWS_WORKER_INDEX", "2"}, {"LWS_LEADER_ADDRESS", "leader.svc"}});
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_EQ(launch->launch.num_processes, 3);
  EXPECT_EQ(launch->launch.process_idx, 2);
  EXPECT_EQ(launch->launch.master_addr, "leader.svc");
}

TEST(LaunchEnvironment, ReadsSlurmAndMeetsOnTheFirstNode) {
  for (const auto& [nodes, leader] :
       {std::pair("n[03-07,9]", "n03"), {"a,b[1-2]", "a"}, {"gpu[7,9]-ib,x", "gpu7-ib"}, {"solo", "solo"}}) {
    const auto launch = Read({{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "5"}, {"SLURM_STEP_NODELIST", nodes}});
    ASSERT_TRUE(launch.ok()) << launch.status();
    EXPECT_EQ(launch->launch.num_processes, 8);
    EXPECT_EQ(launch->launch.process_idx, 5);
    EXPECT_EQ(launch->launch.master_addr, leader);
  }
}

TEST(LaunchEnvironment, NamesTheVariableThatIsWrong) {
  const std::map<std::string, std::map<std::string, std::string>> faults = {
      {"RANK", {{"WORLD_SIZE", "2"}, {"RANK", "2"}}},
      {"no RANK", {{"WORLD_SIZE", "2"}}},
      {"WORLD_SIZE", {{"WORLD_SIZE", "many"}, {"RANK", "0"}}},
      {"MASTER_PORT", {{"WORLD_SIZE", "2"}, {"RANK", "0"}, {"MASTER_PORT", "70000"}}}};
  for (const auto& [name, variables] : faults) {
    const absl::Status status = Read(variables).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_NE(status.message().find(name), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace switchyard
