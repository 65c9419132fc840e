// Sampling and scoring on the device against the CPU's, whose order of operations and random numbers they share.
#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "gmock/gmock.h"
#include "kernels/cuda/sampling_params.h"
#include "tests/kernels/cuda/sampling_reference.h"

namespace switchyard::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> Normal(size_t size, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return values;
}

// Few distinct values, far apart: ties everywhere, and no two weights within rounding of each other.
std::vector<float> Coarse(size_t size, uint32_t seed) {
  std::vector<float> values = Normal(size, seed, 2.0f);
  for (float& value : values) value = std::round(value * 2) / 2;
  return values;
}

// Every combination of the filters, with temperatures, adjustments and log-probabilities in turn.
std::vector<SamplingRow> AllFilters(int32_t vocab_size) {
  std::vector<SamplingRow> rows;
  const float temperatures[] = {1.0f, 0.7f, 1.9f, 0.0f, 0.1f};
  for (const int32_t top_k : {0, 1, 2, 20, vocab_size - 1, vocab_size + 5}) {
    for (const float top_p : {1.0f, 0.95f, 0.3f, 1e-4f}) {
      for (const float min_p : {0.0f, 0.2f, 1.0f}) {
        const auto i = static_cast<int32_t>(rows.size());
        SamplingRow row{.temperature = temperatures[i % 5],
                        .top_k = top_k,
                        .top_p = top_p,
                        .min_p = min_p,
                        .seed = static_cast<uint64_t>(i) << 33 | 7,
                        .draw = static_cast<uint64_t>(i) << 31,
                        .num_top_logprobs = i % 7 - 1};
        if (i % 4 == 1) row.biases = {{i % vocab_size, 3.0f}, {vocab_size - 1, -kInfinity}};
        if (i % 3 == 1) {
          row.repetition_penalty = 1.3f;
          row.presence_penalty = 0.4f;
          row.frequency_penalty = -0.3f;
          row.counts = {{1, 1, 0}, {4, 2, 3}, {vocab_size / 2, 0, 1}, {vocab_size - 1, 3, 1}};
        }
        rows.push_back(row);
      }
    }
  }
  return rows;
}

TEST(DeviceSampling, AgreesWithTheCpuForEveryCombinationOfFilters) {
  for (const int32_t vocab_size : {50, 3000}) {
    const std::vector<SamplingRow> rows = AllFilters(vocab_size);
    const auto size = static_cast<size_t>(vocab_size) * rows.size();
    ExpectSameAsCpu(Normal(size, 1, 3.0f), rows);
    ExpectSameAsCpu(Coarse(size, 2), rows);
  }
}

TEST(DeviceSampling, AgreesWithTheCpuAcrossChunks) {
  const int64_t vocab_size = 32000;
  const std::vector<SamplingRow> rows = {
      {.temperature = 0, .num_top_logprobs = 20},
      {.temperature = 1, .seed = 11, .num_top_logprobs = 0},
      {.temperature = 0.8f, .top_p = 0.95f, .seed = 12},
      {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .seed = 13, .num_top_logprobs = 128},
      {.temperature = 1.5f, .top_k = 9000, .min_p = 1e-4f, .seed = 14, .biases = {{0, 2.0f}, {31999, 9.0f}}},
      {.temperature = 1.0f,
       .top_p = 0.999f,
       .repetition_penalty = 1.2f,
       .seed = 15,
       .counts = {{4095, 1, 1}, {4096, 1, 1}, {31999, 1, 1}}}};
  ExpectSameAsCpu(Normal(static_cast<size_t>(vocab_size) * rows.size(), 3, 2.5f), rows);
  ExpectSameAsCpu(Coarse(static_cast<size_t>(vocab_size) * rows.size(), 4), rows);
}

TEST(DeviceSampling, MasksAsTheCpuDoes) {
  for (const int32_t vocab_size : {50, 2 * kChunkTokens + 77}) {
    std::vector<SamplingRow> rows = AllFilters(vocab_size);
    if (vocab_size > kChunkTokens) rows.erase(rows.begin() + 12, rows.end());
    std::mt19937 random(17);
    for (size_t i = 0; i < rows.size(); ++i) {
      TokenMask mask(static_cast<size_t>(vocab_size) / 32 + i % 2);
      for (uint32_t& word : mask) word = random() & random();
      if (i % 5 != 4) rows[i].allowed = std::make_shared<const TokenMask>(std::move(mask));
    }
    ExpectSameAsCpu(Normal(static_cast<size_t>(vocab_size) * rows.size(), 5, 3.0f), rows);
  }
}

TEST(DeviceSampling, AMaskMayLeaveNothingAndHidesNoNaN) {
  const auto none = std::make_shared<const TokenMask>(TokenMask{0});
  const auto first = std::make_shared<const TokenMask>(TokenMask{1});
  const std::vector<SampledToken> sampled = DeviceSample(
      {1, 2, 3, 1, 2, NAN, 1, 2, 3}, {{.temperature = 1, .allowed = none}, {.allowed = first}, {.allowed = first}});
  EXPECT_EQ(sampled[0].id, -1);
  EXPECT_EQ(sampled[1].id, -1);
  EXPECT_EQ(sampled[2].id, 0);
}

TEST(DeviceSampling, AllTokensEqual) {
  const int32_t vocab_size = kChunkTokens + 100;
  std::vector<SamplingRow> rows;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    rows.push_back({.temperature = 1, .seed = seed});
    rows.push_back({.temperature = 1, .top_k = 5, .seed = seed, .num_top_logprobs = 3});
    rows.push_back({.temperature = 1, .top_k = kChunkTokens + 2, .top_p = 0.9999f, .seed = seed});
    rows.push_back({.temperature = 1, .top_p = 0.5f, .seed = seed});
    rows.push_back({.temperature = 1, .min_p = 1.0f, .seed = seed});
  }
  for (const float value : {0.0f, -3.5f}) {
    ExpectSameAsCpu(std::vector<float>(rows.size() * vocab_size, value), rows);
  }
  // The kept ones are the lowest ids.
  const std::vector<SampledToken> sampled = DeviceSample(std::vector<float>(rows.size() * vocab_size, 1.0f), rows);
  for (size_t i = 1; i < rows.size(); i += 5) EXPECT_LT(sampled[i].id, 5);
}

TEST(DeviceSampling, OfTheTokensAtTheCutOnlyTheFirstAreDrawn) {
  const std::vector<float> logits = {1, 0, 1, 0, 2, 0, 1, 2};
  std::vector<SamplingRow> rows;
  std::vector<float> all;
  for (uint64_t draw = 0; draw < 40; ++draw) {
    rows.push_back({.temperature = 1, .top_k = 3, .seed = 4, .draw = draw});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  ExpectSameAsCpu(all, rows);
  for (const SampledToken& token : DeviceSample(all, rows)) EXPECT_THAT(token.id, testing::AnyOf(0, 4, 7));
}

TEST(DeviceSampling, GreedyTakesTheLowestIdAmongEqualsInAnyChunk) {
  const int32_t vocab_size = 3 * kChunkTokens;
  for (const int32_t first : {0, kChunkTokens - 1, kChunkTokens, 2 * kChunkTokens + 7}) {
    std::vector<float> logits = Normal(vocab_size, 5, 1.0f);
    logits[first] = logits[vocab_size - 1] = 30;
    const SamplingRow row{.temperature = 0};
    EXPECT_EQ(DeviceSample(logits, {row})[0].id, first);
  }
  EXPECT_EQ(DeviceSample({-1.0f, -0.0f, 0.0f}, {{.temperature = 0}})[0].id, 1) << "zeros are equal";
}

TEST(DeviceSampling, ARowThatIsNoDistributionGivesNoToken) {
  const int32_t vocab_size = 2 * kChunkTokens + 3;
  const std::vector<SamplingRow> kinds = {{.temperature = 0},
                                          {.temperature = 1, .top_k = 3, .top_p = 0.5f, .num_top_logprobs = 4},
                                          {.temperature = 1, .num_top_logprobs = 0, .biases = {{7, kInfinity}}}};
  for (const SamplingRow& kind : kinds) {
    const std::vector<SamplingRow> rows(6, kind);
    std::vector<float> logits = Normal(rows.size() * vocab_size, 6, 1.0f);
    const auto row = [&](size_t i) { return logits.begin() + static_cast<std::ptrdiff_t>(i * vocab_size); };
    row(0)[vocab_size - 1] = NAN;
    row(1)[kChunkTokens] = kInfinity;
    std::fill(row(2), row(3), -kInfinity);
    std::fill(row(3), row(4), -kInfinity);
    row(3)[kChunkTokens + 5] = -80;  // the only possible token
    row(4)[0] = -NAN;
    ExpectSameAsCpu(logits, rows);
    const std::vector<SampledToken> sampled = DeviceSample(logits, rows);
    for (const size_t i : {0, 1, 2, 4}) EXPECT_EQ(sampled[i].id, -1) << "row " << i;
    if (kind.biases.empty()) {
      EXPECT_EQ(sampled[3].id, kChunkTokens + 5);
      EXPECT_GE(sampled[5].id, 0);
    }
  }
}

TEST(DeviceSampling, BiasesMayForbidAllTokensOrAllButOne) {
  const std::vector<SamplingRow> rows = {
      {.temperature = 1, .biases = {{0, -kInfinity}, {1, -kInfinity}, {2, -kInfinity}}},
      {.temperature = 1, .top_p = 0.5f, .num_top_logprobs = 3, .biases = {{0, -kInfinity}, {2, -kInfinity}}},
      {.temperature = 0, .biases = {{0, 1.0f}, {0, 1.5f}, {0, 0.25f}}},
      {.temperature = 0, .biases = {{0, 1.0f}, {0, 1.5f}, {0, 0.25f}}}};
  const std::vector<SampledToken> sampled = DeviceSample({1, 2, 3, 1, 2, 3, 1, 2, 3.5f, 1, 2, 4}, rows);
  EXPECT_EQ(sampled[0].id, -1);
  EXPECT_EQ(sampled[1].id, 1);
  EXPECT_EQ(sampled[1].top.front().id, 2) << "the model's own distribution knows no bias";
  EXPECT_EQ(sampled[2].id, 0) << "biases of one token add up, to 3.75";
  EXPECT_EQ(sampled[3].id, 2) << "once each";
}

TEST(DeviceSampling, TopLogProbsAreExactAmongEqualsAcrossChunks) {
  const int32_t vocab_size = 3 * kChunkTokens - 1;
  std::vector<float> logits(vocab_size);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 5);  // 2457 fours
  std::vector<SamplingRow> rows;
  for (const int32_t num_top : {1, 7, 819, 820, 821, kMaxTop}) {
    rows.push_back({.temperature = 0, .num_top_logprobs = num_top});
  }
  std::vector<float> all;
  for (size_t i = 0; i < rows.size(); ++i) all.insert(all.end(), logits.begin(), logits.end());
  ExpectSameAsCpu(all, rows);
  // More than there are, -infinity among them.
  const std::vector<SampledToken> few =
      DeviceSample({1, -kInfinity, 2, -kInfinity}, {{.temperature = 0, .num_top_logprobs = 9}});
  ASSERT_EQ(few[0].top.size(), 4u);
  EXPECT_EQ(few[0].top[0].id, 2);
  EXPECT_EQ(few[0].top[2], (TokenLogProb{1, -kInfinity}));
  EXPECT_EQ(few[0].top[3].id, 3);
}

TEST(DeviceSampling, ADrawDoesNotDependOnTheBatch) {
  const int32_t vocab_size = 2 * kChunkTokens + 50;
  const std::vector<float> logits = Normal(vocab_size, 7, 2.0f);
  const SamplingRow row{.temperature = 1.2f, .top_k = 300, .top_p = 0.97f, .seed = 21, .draw = 4};
  const int32_t alone = DeviceSample(logits, {row})[0].id;
  std::vector<SamplingRow> rows(5, row);
  rows[0] = {.temperature = 0, .num_top_logprobs = 5};
  rows[1] = {.temperature = 1, .num_top_logprobs = 2};
  rows[3] = {.temperature = 1, .top_p = 0.1f, .biases = {{3, 1.0f}}};
  rows[4].num_top_logprobs = 9;
  std::vector<float> batch = Normal(rows.size() * vocab_size, 8, 2.0f);
  for (const size_t i : {2, 4}) std::copy(logits.begin(), logits.end(), batch.begin() + i * vocab_size);
  const std::vector<SampledToken> sampled = DeviceSample(batch, rows);
  EXPECT_EQ(sampled[2].id, alone);
  EXPECT_EQ(sampled[4].id, alone);
}

TEST(DeviceSampling, DrawsFollowTheFilteredSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f, 0.5f, -3.0f, 1.5f, 1.0f};
  const int draws = 1500;
  std::vector<SamplingRow> rows;
  std::vector<float> all;
  for (int i = 0; i < draws; ++i) {
    rows.push_back({.temperature = 0.8f, .min_p = 0.05f, .seed = 99, .draw = static_cast<uint64_t>(i)});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  std::map<int32_t, int> counts;
  for (const SampledToken& token : DeviceSample(all, rows)) ++counts[token.id];
  EXPECT_EQ(counts.count(2) + counts.count(5), 0u) << "min-p leaves them out";
  double sum = 0, chi_square = 0;
  const std::vector<int32_t> kept = {0, 1, 3, 4, 6, 7};
  for (const int32_t id : kept) sum += std::exp(logits[id] / 0.8);
  for (const int32_t id : kept) {
    const double expected = draws * std::exp(logits[id] / 0.8) / sum;
    chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
  }
  EXPECT_LT(chi_square, 20.5) << "5 degrees of freedom, one in a thousand";
}

TEST(DeviceSampling, HandlesMoreRowsThanAGroup) {
  const size_t num_rows = kRowGroup + 3, vocab_size = 40;
  std::vector<SamplingRow> rows(num_rows, {.temperature = 0});
  for (size_t i = 0; i < num_rows; i += 50) rows[i] = {.temperature = 1, .top_k = 4, .seed = i, .num_top_logprobs = 2};
  rows.back() = {.temperature = 0.9f, .top_p = 0.8f, .seed = 5, .num_top_logprobs = 1, .biases = {{39, 2.0f}}};
  ExpectSameAsCpu(Normal(num_rows * vocab_size, 9, 2.0f), rows);
  EXPECT_TRUE(DeviceSample({}, {}).empty());
}

TEST(DeviceScoring, AgreesWithTheCpu) {
  for (const size_t vocab_size : {size_t{1}, size_t{700}, size_t{2 * kChunkTokens + 1}}) {
    const auto last = static_cast<int32_t>(vocab_size - 1);
    const std::vector<ScoringRow> rows = {{.target = 0, .num_top_logprobs = 2},
                                          {.target = -1, .num_top_logprobs = 0},
                                          {.target = last},
                                          {.target = -1, .num_top_logprobs = 5},
                                          {.target = last / 2},
                                          {.target = 0, .num_top_logprobs = 1}};
    std::vector<float> logits = Normal(rows.size() * vocab_size, 10, 6.0f);
    logits.back() = NAN;  // the last row
    const std::vector<ScoredToken> scored = DeviceScore(logits, rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      const ScoredToken expected = ScoreRow(std::span(logits).subspan(i * vocab_size, vocab_size), rows[i]);
      EXPECT_EQ(scored[i].top1, expected.top1);
      EXPECT_NEAR(scored[i].logprob, expected.logprob, kLogProbTolerance);
      ExpectSameTop(scored[i].top, expected.top);
    }
  }
}

}  // namespace
}  // namespace switchyard::cuda
