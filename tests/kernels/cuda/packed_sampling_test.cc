// The host's side of sampling: what is sent to the device and how its answers are read.
#include <cstring>
#include <limits>

#include "gmock/gmock.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_params.h"

namespace switchyard::cuda {
namespace {

using testing::ElementsAre;

RowParams ParamsOf(const PackedSampling& packed, size_t row) {
  RowParams params;
  std::memcpy(&params, packed.params().data() + row * sizeof(params), sizeof(params));
  return params;
}

struct UnpackedAdjustment {
  uint32_t id;
  bool repetition;
  float add;
  bool operator==(const UnpackedAdjustment&) const = default;
};

std::vector<UnpackedAdjustment> AdjustmentsOf(const PackedSampling& packed, size_t row, size_t chunk) {
  const RowParams params = ParamsOf(packed, row);
  int32_t range[2];
  std::memcpy(range, packed.params().data() + params.chunk_begin_bytes + chunk * sizeof(int32_t), sizeof(range));
  std::vector<UnpackedAdjustment> result;
  for (int32_t i = range[0]; i < range[1]; ++i) {
    Adjustment adjustment;
    std::memcpy(&adjustment,
                packed.params().data() + params.adjustments_bytes + static_cast<size_t>(i) * sizeof(adjustment),
                sizeof(adjustment));
    result.push_back({adjustment.id_and_flag & ~Adjustment::kRepetition,
                      (adjustment.id_and_flag & Adjustment::kRepetition) != 0, adjustment.add});
  }
  return result;
}

PackedSampling PackOne(const SamplingRow& row, int64_t vocab_size = 100) {
  return PackedSampling::Pack(std::span<const SamplingRow>(&row, 1), vocab_size);
}

TEST(PackedSampling, RowsTakePartOnlyInThePhasesTheyNeed) {
  const auto phases = [](const SamplingRow& row) { return ParamsOf(PackOne(row), 0).phases; };
  EXPECT_EQ(phases({.temperature = 0, .top_k = 5, .top_p = 0.5f}), 0u) << "the most likely token needs no filter";
  EXPECT_EQ(phases({.temperature = 1, .top_k = 1, .top_p = 0.5f}), 0u);
  EXPECT_EQ(phases({.temperature = 1}), uint32_t{kDraws});
  EXPECT_EQ(phases({.temperature = 1, .top_k = 99}), uint32_t{kDraws | kTopK});
  EXPECT_EQ(phases({.temperature = 1, .top_k = 100}), uint32_t{kDraws}) << "all of the vocabulary";
  EXPECT_EQ(phases({.temperature = 1, .top_p = 0.9f}), uint32_t{kDraws | kTopP});
  EXPECT_EQ(phases({.temperature = 0, .num_top_logprobs = 0}), uint32_t{kLogProbs});
  EXPECT_EQ(phases({.temperature = 0, .num_top_logprobs = 3}), uint32_t{kLogProbs | kTopLogits});
  EXPECT_EQ(phases({.temperature = 0, .biases = {{1, 1.0f}}}), uint32_t{kAdjusts});
}

TEST(PackedSampling, AdjustmentsAreInOrderOfIdBiasesFirst) {
  const SamplingRow row{.repetition_penalty = 2,
                        .presence_penalty = 0.5f,
                        .frequency_penalty = 0.25f,
                        .counts = {{3, 1, 0}, {7, 0, 2}, {kChunkTokens, 0, 0}, {2 * kChunkTokens + 1, 1, 1}},
                        .biases = {{7, -1.0f}, {2, 4.0f}, {7, 3.0f}}};
  const PackedSampling packed = PackOne(row, 3 * kChunkTokens);
  const auto unchanged = [](uint32_t id) { return UnpackedAdjustment{id, false, 0}; };
  EXPECT_EQ(
      AdjustmentsOf(packed, 0, 0),
      (std::vector<UnpackedAdjustment>{{2, false, 4}, {3, true, 0}, {7, false, -1}, {7, false, 3}, {7, true, -1.0f}}));
  EXPECT_EQ(AdjustmentsOf(packed, 0, 1), (std::vector<UnpackedAdjustment>{unchanged(kChunkTokens)}));
  EXPECT_EQ(AdjustmentsOf(packed, 0, 2), (std::vector<UnpackedAdjustment>{{2 * kChunkTokens + 1, true, -0.75f}}));
}

TEST(PackedSampling, EachRowFindsItsOwnAdjustments) {
  std::vector<SamplingRow> rows(3);
  rows[0].biases = {{5, 1.0f}};
  rows[2].biases = {{6, 2.0f}, {9, -std::numeric_limits<float>::infinity()}};
  const PackedSampling packed = PackedSampling::Pack(rows, 100);
  EXPECT_EQ(AdjustmentsOf(packed, 0, 0), (std::vector<UnpackedAdjustment>{{5, false, 1}}));
  EXPECT_EQ(ParamsOf(packed, 1).phases & kAdjusts, 0u);
  EXPECT_EQ(AdjustmentsOf(packed, 2, 0).size(), 2u);
}

TEST(PackedSampling, UnpacksEveryRowsAnswerAndTop) {
  std::vector<SamplingRow> rows(4);
  rows[0].num_top_logprobs = 2;
  rows[1].num_top_logprobs = 1;
  rows[2].num_top_logprobs = -1;
  rows[3].num_top_logprobs = 200;  // more than the vocabulary has
  const PackedSampling packed = PackedSampling::Pack(rows, 3);
  EXPECT_EQ(packed.max_top(), 3);
  EXPECT_EQ(packed.num_rows(), 4);
  const RowResult results[] = {{8, -1}, {-1, 0}, {4, 0}, {2, -3}};
  const TokenLogProb top[] = {{8, -1}, {7, -2}, {99, 99}, {0, -1}, {1, -2}, {2, -3}};
  std::vector<std::byte> bytes(sizeof(results) + sizeof(top));
  ASSERT_EQ(bytes.size(), packed.result_bytes());
  std::memcpy(bytes.data(), results, sizeof(results));
  std::memcpy(bytes.data() + sizeof(results), top, sizeof(top));
  const std::vector<SampledToken> tokens = packed.UnpackSampled(bytes);
  ASSERT_EQ(tokens.size(), 4u);
  EXPECT_EQ(tokens[0].id, 8);
  EXPECT_EQ(tokens[0].logprob, -1);
  EXPECT_THAT(tokens[0].top, ElementsAre(top[0], top[1]));
  EXPECT_EQ(tokens[1].id, -1);
  EXPECT_TRUE(tokens[1].top.empty()) << "a row without a token has no top";
  EXPECT_EQ(tokens[2].id, 4);
  EXPECT_THAT(tokens[3].top, ElementsAre(top[3], top[4], top[5]));
}

TEST(PackedSampling, UnpacksScores) {
  const std::vector<ScoringRow> rows = {{.target = 5, .num_top_logprobs = 1}, {.target = -1}};
  const PackedSampling packed = PackedSampling::Pack(rows, 10);
  EXPECT_EQ(ParamsOf(packed, 0).logprob_of, 5);
  EXPECT_EQ(ParamsOf(packed, 1).phases, 0u);
  const RowResult results[] = {{3, -0.5f}, {1, 0}};
  const TokenLogProb top[] = {{3, -0.25f}};
  std::vector<std::byte> bytes(sizeof(results) + sizeof(top));
  ASSERT_EQ(bytes.size(), packed.result_bytes());
  std::memcpy(bytes.data(), results, sizeof(results));
  std::memcpy(bytes.data() + sizeof(results), top, sizeof(top));
  const std::vector<ScoredToken> tokens = packed.UnpackScored(bytes);
  EXPECT_EQ(tokens[0].top1, 3);
  EXPECT_EQ(tokens[0].logprob, -0.5f);
  EXPECT_THAT(tokens[0].top, ElementsAre(top[0]));
  EXPECT_EQ(tokens[1].top1, 1);
  EXPECT_TRUE(tokens[1].top.empty());
}

TEST(PackedSampling, ScratchHoldsAGroupOfRowsHoweverManyThereAre) {
  EXPECT_EQ(SamplingScratchBytes(0, 1000), 0u);
  EXPECT_GT(SamplingScratchBytes(2, 1000), SamplingScratchBytes(1, 1000));
  EXPECT_GT(SamplingScratchBytes(1, 2 * kChunkTokens), SamplingScratchBytes(1, kChunkTokens));
  EXPECT_EQ(SamplingScratchBytes(kRowGroup, 1000), SamplingScratchBytes(100000, 1000));
}

TEST(PackedSamplingDeathTest, ChecksIdsAgainstTheVocabulary) {
  EXPECT_DEATH(PackOne({.biases = {{100, 1.0f}}}), "vocab_size");
  EXPECT_DEATH(PackOne({.counts = {{-1, 1, 0}}}), "vocab_size");
  const ScoringRow row{.target = 100};
  EXPECT_DEATH(PackedSampling::Pack(std::span<const ScoringRow>(&row, 1), 100), "vocab_size");
}

}  // namespace
}  // namespace switchyard::cuda
