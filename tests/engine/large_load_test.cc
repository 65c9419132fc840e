// A checkpoint of 3 GB, loaded by two ranks, each a process of its own: what each reads and holds is what the plan
// says.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/checkpoint.h"
#include "tests/support/synthetic_checkpoint.h"

namespace switchyard {
namespace {

constexpr int kRanks = 2;
constexpr int kThreads = 1;  // of each rank
// Beside its weights a loading rank holds for each thread a block as it is read and what is made of it, which is no
// larger; and of NF4 the scales of tensors under way.
constexpr int64_t kLoadBuffers = 2 * kThreads * kLoadBlockBytes;

class LargeLoadTest : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("large-checkpoint-", getpid());
    const absl::Status written = WriteSyntheticCheckpoint({.vocab_size = 32000,
                                                           .hidden_size = 2048,
                                                           .intermediate_size = 7168,
                                                           .num_layers = 4,
                                                           .num_heads = 16,
                                                           .num_kv_heads = 4,
                                                           .num_experts = 8,
                                                           .max_position_embeddings = 2048,
                                                           .num_files = 5,
                                                           .first_rows_only = true},
                                                          directory_.string());
    ASSERT_TRUE(written.ok()) << written;
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(directory_); }

  static std::filesystem::path directory_;
};
std::filesystem::path LargeLoadTest::directory_;

TEST_P(LargeLoadTest, EachRankReadsAndHoldsWhatThePlanSays) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory would be counted";
#endif
  std::vector<FILE*> ranks;
  for (int rank = 0; rank < kRanks; ++rank) {
    const std::string command = absl::StrCat(SWITCHYARD_LOAD_PROBE, " ", directory_.string(), " ", GetParam(), " ",
                                             rank, " ", kRanks, " ", kThreads);
    ranks.push_back(popen(command.c_str(), "r"));
    ASSERT_NE(ranks.back(), nullptr);
  }
  int64_t read_by_all = 0;
  for (FILE* rank : ranks) {
    char line[1024] = "";
    ASSERT_NE(std::fgets(line, sizeof(line), rank), nullptr);
    ASSERT_EQ(pclose(rank), 0);
    SCOPED_TRACE(line);
    const nlohmann::json of = nlohmann::json::parse(line);
    const int64_t planned_read = of["planned_read"];
    const int64_t planned_weights = of["planned_weights"];
    const int64_t planned_memory = of["planned_memory"];
    const int64_t read = of["read"];
    // The account has the reads of /proc itself, too.
    EXPECT_GE(read, planned_read);
    EXPECT_LE(read, planned_read + 16 * 1024);
    EXPECT_GE(of["peak"], planned_weights * 99 / 100);
    EXPECT_LE(of["peak"], planned_weights * 101 / 100 + kLoadBuffers);
    EXPECT_GE(of["allocated"], planned_memory * 99 / 100);
    EXPECT_LE(of["allocated"], planned_memory * 101 / 100);
    read_by_all += read;
  }
  EXPECT_GT(read_by_all, int64_t{3'000'000'000});
}

INSTANTIATE_TEST_SUITE_P(Formats, LargeLoadTest, testing::Values("none", "nf4"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace switchyard
