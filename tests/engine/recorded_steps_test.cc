#include "engine/model/recorded_steps.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

// `tokens[s]` tokens of each sequence s, owned by `owners[s]`; the last of each is drawn.
Batch MakeBatch(const std::vector<int32_t>& tokens, const std::vector<int32_t>& owners) {
  Batch batch;
  for (size_t s = 0; s < tokens.size(); ++s) {
    const auto begin = static_cast<int32_t>(batch.tokens.size());
    batch.sequences.push_back({.owner = owners[s], .token_begin = begin, .num_tokens = tokens[s]});
    batch.tokens.insert(batch.tokens.end(), static_cast<size_t>(tokens[s]), 1);
    batch.samples.push_back({.token = begin + tokens[s] - 1, .row = {}});
  }
  return batch;
}

TEST(RecordedSteps, SizesAscendToTheLargestStepAndWasteLittle) {
  for (const int64_t largest : {1, 2, 3, 8, 9, 17, 100, 256}) {
    const std::vector<int64_t> sizes = RecordedSizes(largest);
    EXPECT_EQ(sizes.front(), 1);
    EXPECT_EQ(sizes.back(), largest);
    for (size_t i = 1; i < sizes.size(); ++i) {
      EXPECT_GT(sizes[i], sizes[i - 1]);
      EXPECT_LE(sizes[i], 2 * sizes[i - 1]);
    }
  }
  EXPECT_TRUE(RecordedSizes(0).empty());
}

TEST(RecordedSteps, OnlyStepsOfOneDrawnTokenPerSequenceAreDecodeSteps) {
  EXPECT_TRUE(IsDecodeStep(MakeBatch({1, 1, 1}, {0, 0, 1})));
  EXPECT_FALSE(IsDecodeStep(MakeBatch({1, 2}, {0, 0})));
  EXPECT_FALSE(IsDecodeStep(Batch{}));
  Batch undrawn = MakeBatch({1, 1}, {0, 0});
  undrawn.samples.pop_back();
  EXPECT_FALSE(IsDecodeStep(undrawn));
  Batch scored = MakeBatch({1}, {0});
  scored.scores.push_back({.token = 0, .row = {}});
  EXPECT_FALSE(IsDecodeStep(scored));
}

TEST(RecordedSteps, PadsToTheRankWithMostTokensWhereTheyAreDivided) {
  const RecordedSteps steps(16, 2);
  const Batch batch = MakeBatch({1, 1, 1, 1}, {0, 1, 1, 1});
  EXPECT_EQ(steps.PaddedTokens(TokenLayout::kDivided, batch), 4);     // rank 1 has three
  EXPECT_EQ(steps.PaddedTokens(TokenLayout::kReplicated, batch), 4);  // all four on each
}

TEST(RecordedSteps, PadsSlicesToEqualLengths) {
  const RecordedSteps steps(16, 3);
  EXPECT_EQ(steps.PaddedTokens(TokenLayout::kSliced, MakeBatch({1}, {0})), 3);
  EXPECT_EQ(steps.PaddedTokens(TokenLayout::kSliced, MakeBatch({1, 1, 1, 1}, {0, 0, 0, 0})), 6);
}

TEST(RecordedSteps, LeavesStepsBeyondTheLargestSizeAlone) {
  const RecordedSteps steps(2, 1);
  EXPECT_EQ(steps.PaddedTokens(TokenLayout::kReplicated, MakeBatch({1, 1}, {0, 0})), 2);
  EXPECT_EQ(steps.PaddedTokens(TokenLayout::kReplicated, MakeBatch({1, 1, 1}, {0, 0, 0})), 0);
}

TEST(RecordedSteps, FindsWhatWasRecordedForAnExchangeAndSize) {
  RecordedSteps steps(4, 1);
  EXPECT_EQ(steps.Find(ExchangeStrategy::kAllGather, 2), nullptr);
  steps.Add(ExchangeStrategy::kAllGather, 2, {.work = std::make_unique<RecordedWork>(), .exchange_bytes = 7});
  ASSERT_NE(steps.Find(ExchangeStrategy::kAllGather, 2), nullptr);
  EXPECT_EQ(steps.Find(ExchangeStrategy::kAllGather, 2)->exchange_bytes, 7u);
  EXPECT_EQ(steps.Find(ExchangeStrategy::kAllReduce, 2), nullptr);
}

TEST(PaddedStepLayout, KeepsTheTokensAndAddsRowsBehindThem) {
  const Batch batch = MakeBatch({1, 1, 1}, {0, 1, 1});
  const StepLayout divided = MakeStepLayout(batch, TokenLayout::kDivided, 0, 2, 4);
  EXPECT_EQ(divided.attention.size(), 1);
  EXPECT_EQ(divided.attention_rows, 4);
  EXPECT_EQ(divided.max_residual_rows, 4);
  const StepLayout sliced = MakeStepLayout(batch, TokenLayout::kSliced, 1, 2, 4);
  EXPECT_EQ(sliced.attention_rows, 4);
  EXPECT_EQ(sliced.residual.begin, 2);
  EXPECT_EQ(sliced.residual.size(), 1);
  EXPECT_EQ(sliced.residual_rows, 2);
  EXPECT_EQ(sliced.samples, std::vector<int32_t>({2}));
}

}  // namespace
}  // namespace switchyard
