// One conformance test over both kinds of step link.
#include "engine/step_link.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "parallel/communicators/in_process.h"

namespace switchyard {
namespace {

enum class Kind { kShared, kRemote };

class StepLinkTest : public testing::TestWithParam<Kind> {
 protected:
  std::vector<std::unique_ptr<StepLink>> Links(int num_ranks) {
    if (GetParam() == Kind::kShared) return CreateSharedStepLinks(num_ranks);
    control_ = CreateInProcessCommunicators(num_ranks, absl::Seconds(30));
    std::vector<std::unique_ptr<StepLink>> links;
    for (const auto& control : control_) links.push_back(CreateRemoteStepLink(*control, absl::Seconds(5)));
    return links;
  }

  std::vector<std::unique_ptr<Communicator>> control_;
};

// Every other rank answers step s with one sample: index = rank, token id = 100 * s + the batch's first token.
StepOutput Answer(const Batch& batch, int rank) {
  StepOutput output;
  output.samples.push_back(
      {.index = rank, .token = {.id = static_cast<int32_t>(100 * batch.step) + batch.tokens.front()}});
  return output;
}

TEST_P(StepLinkTest, CarriesEveryBatchAndEveryOutputInRankOrder) {
  constexpr int kRanks = 3;
  const auto links = Links(kRanks);
  std::vector<std::thread> followers;
  for (int rank = 1; rank < kRanks; ++rank) {
    followers.emplace_back([&link = *links[rank], rank] {
      while (true) {
        const auto batch = link.Next();
        ASSERT_TRUE(batch.ok()) << batch.status();
        if (*batch == nullptr) return;
        ASSERT_TRUE(link.Return(Answer(**batch, rank)).ok());
      }
    });
  }
  for (uint64_t step = 0; step < 200; ++step) {
    auto batch = std::make_shared<Batch>();
    batch->step = step;
    batch->tokens.assign(1 + step % 7, static_cast<int32_t>(step % 50));
    ASSERT_TRUE(links[0]->Publish(batch).ok());
    const auto outputs = links[0]->Collect(Answer(*batch, 0));
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    ASSERT_EQ(outputs->size(), static_cast<size_t>(kRanks));
    for (int rank = 0; rank < kRanks; ++rank) {
      EXPECT_EQ((*outputs)[rank].samples.front().index, rank);
      EXPECT_EQ((*outputs)[rank].samples.front().token.id, static_cast<int32_t>(100 * step + step % 50));
    }
  }
  ASSERT_TRUE(links[0]->Publish(nullptr).ok());
  for (std::thread& follower : followers) follower.join();
}

TEST_P(StepLinkTest, AnErrorOfAnyRankReachesRankZero) {
  const auto links = Links(2);
  std::thread follower([&link = *links[1]] {
    ASSERT_TRUE(link.Next().ok());
    EXPECT_TRUE(link.Return(absl::ResourceExhaustedError("rank 1 has no memory left")).ok());
  });
  ASSERT_TRUE(links[0]->Publish(std::make_shared<Batch>()).ok());
  const auto outputs = links[0]->Collect(StepOutput());
  EXPECT_NE(outputs.status().message().find("rank 1 has no memory left"), std::string::npos) << outputs.status();
  follower.join();
}

INSTANTIATE_TEST_SUITE_P(BothKinds, StepLinkTest, testing::Values(Kind::kShared, Kind::kRemote),
                         [](const auto& info) { return info.param == Kind::kShared ? "Shared" : "Remote"; });

}  // namespace
}  // namespace switchyard
