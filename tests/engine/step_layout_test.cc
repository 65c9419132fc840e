#include "engine/step_layout.h"

#include <gtest/gtest.h>

#include <random>

namespace switchyard {
namespace {

// Sequences of the given owners (ascending) with one to five tokens each; the last token of each is drawn.
Batch RandomBatch(std::mt19937& random, const std::vector<int32_t>& owners) {
  Batch batch;
  for (const int32_t owner : owners) {
    const int32_t tokens = 1 + static_cast<int32_t>(random() % 5);
    const int32_t begin = static_cast<int32_t>(batch.tokens.size());
    batch.sequences.push_back({.owner = owner, .token_begin = begin, .num_tokens = tokens});
    batch.tokens.insert(batch.tokens.end(), static_cast<size_t>(tokens), 7);
    batch.samples.push_back({.token = begin + tokens - 1});
    for (int32_t i = 0; i < tokens; ++i) batch.scores.push_back({.token = begin + i});
  }
  return batch;
}

class StepLayoutTest : public testing::TestWithParam<std::tuple<TokenLayout, int>> {};

TEST_P(StepLayoutTest, EveryRowIsDrawnAndScoredOnce) {
  const auto [kind, world_size] = GetParam();
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> owners(random() % 9);
    for (int32_t& owner : owners) owner = static_cast<int32_t>(random() % static_cast<unsigned>(world_size));
    std::sort(owners.begin(), owners.end());
    const Batch batch = RandomBatch(random, owners);
    std::vector<int> drawn(batch.samples.size(), 0), scored(batch.scores.size(), 0);
    int64_t residual_rows = 0;
    for (int rank = 0; rank < world_size; ++rank) {
      const StepLayout layout = MakeStepLayout(batch, kind, rank, world_size);
      for (const int32_t i : layout.samples) {
        ++drawn[i];
        EXPECT_GE(batch.samples[i].token, layout.residual.begin);
        EXPECT_LT(batch.samples[i].token, layout.residual.end);
      }
      for (const int32_t i : layout.scores) ++scored[i];
      EXPECT_LE(layout.residual.size(), layout.max_residual_rows);
      residual_rows += layout.residual.size();
      if (kind != TokenLayout::kDivided) {
        EXPECT_EQ(layout.attention.size(), layout.num_tokens);
      }
    }
    EXPECT_EQ(drawn, std::vector<int>(drawn.size(), 1));
    EXPECT_EQ(scored, std::vector<int>(scored.size(), 1));
    const int64_t copies = kind == TokenLayout::kReplicated ? world_size : 1;
    EXPECT_EQ(residual_rows, copies * static_cast<int64_t>(batch.tokens.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(AllLayouts, StepLayoutTest,
                         testing::Combine(testing::Values(TokenLayout::kDivided, TokenLayout::kSliced,
                                                          TokenLayout::kReplicated),
                                          testing::Values(1, 2, 3, 5)));

TEST(StepLayout, DividesByOwner) {
  std::mt19937 random(1);
  const Batch batch = RandomBatch(random, {0, 0, 2});
  const StepLayout middle = MakeStepLayout(batch, TokenLayout::kDivided, 1, 3);
  EXPECT_EQ(middle.attention.size(), 0);
  EXPECT_EQ(middle.sequences.size(), 0);
  const StepLayout last = MakeStepLayout(batch, TokenLayout::kDivided, 2, 3);
  EXPECT_EQ(last.sequences.begin, 2);
  EXPECT_EQ(last.attention.end, static_cast<int64_t>(batch.tokens.size()));
}

TEST(StepLayout, FollowsAttentionAndExchange) {
  using enum ExchangeStrategy;
  using enum AttentionParallelism;
  EXPECT_EQ(LayoutOf(kReplicated, kAllToAll), TokenLayout::kDivided);
  EXPECT_EQ(LayoutOf(kReplicated, kAllGather), TokenLayout::kDivided);
  EXPECT_EQ(LayoutOf(kReplicated, kAllReduce), TokenLayout::kReplicated);
  EXPECT_EQ(LayoutOf(kTensorParallel, kAllToAll), TokenLayout::kSliced);
  EXPECT_EQ(LayoutOf(kTensorParallel, kAllGather), TokenLayout::kSliced);
  EXPECT_EQ(LayoutOf(kTensorParallel, kAllReduce), TokenLayout::kReplicated);
}

}  // namespace
}  // namespace switchyard
