// Sampling and scoring of every CPU backend.
#include <algorithm>
#include <map>

#include "gmock/gmock.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SamplingTest : public BackendTest {
 protected:
  SampledToken SampleOne(std::vector<float> logits, const SamplingRow& row) {
    const auto vocab = static_cast<int64_t>(logits.size());
    return backend_->Sample(View(logits, {1, vocab}), {&row, 1}).front();
  }
  std::map<int32_t, int> Histogram(const std::vector<float>& logits, SamplingRow row, int draws) {
    std::map<int32_t, int> counts;
    for (int i = 0; i < draws; ++i) {
      row.draw = i;
      ++counts[SampleOne(logits, row).id];
    }
    return counts;
  }
};
INSTANTIATE_OVER_BACKENDS(SamplingTest);

double LogSoftmax(const std::vector<float>& logits, int32_t id) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return logits[id] - largest - std::log(sum);
}

TEST_P(SamplingTest, GreedyTakesTheLowestIdAmongEquals) {
  EXPECT_EQ(SampleOne({1, 5, 2, 5}, {.temperature = 0}).id, 1);
  std::vector<float> large = Normal(32001);
  large[31999] = large[32000] = 50;
  EXPECT_EQ(SampleOne(large, {.temperature = 0}).id, 31999);
}

TEST_P(SamplingTest, AMaskComesBeforeEverythingElseAndLeavesLogProbsAlone) {
  const std::vector<float> logits = {9.0f, 1.0f, 8.0f, 2.0f, 7.0f};
  const auto only_1_and_3 = std::make_shared<const TokenMask>(TokenMask{0b01010});
  const SamplingRow greedy = {.temperature = 0, .num_top_logprobs = 1, .allowed = only_1_and_3};
  const SampledToken token = SampleOne(logits, greedy);
  EXPECT_EQ(token.id, 3);
  EXPECT_FLOAT_EQ(token.logprob, static_cast<float>(LogSoftmax(logits, 3)));
  EXPECT_EQ(token.top.front().id, 0) << "of the raw model";
  EXPECT_EQ(SampleOne(logits, {.temperature = 1, .top_k = 1, .allowed = only_1_and_3}).id, 3);
  // Penalties and biases work on what is left; no bias brings a token back.
  EXPECT_EQ(SampleOne(logits, {.temperature = 0,
                               .repetition_penalty = 4.0f,
                               .counts = {{0, 1, 0}, {3, 1, 1}},
                               .biases = {{0, 100.0f}},
                               .allowed = only_1_and_3})
                .id,
            1);
  for (const auto& [id, count] : Histogram(logits, {.temperature = 3, .top_k = 2, .allowed = only_1_and_3}, 200)) {
    EXPECT_TRUE(id == 1 || id == 3) << id;
    EXPECT_GT(count, 20);
  }
  // Beyond the mask's end nothing is allowed; a row of which nothing is left has no token; NaN spoils it anyway.
  std::vector<float> large = Normal(100);
  const auto short_mask = std::make_shared<const TokenMask>(TokenMask{0, 1u << 7});
  EXPECT_EQ(SampleOne(large, {.temperature = 1, .allowed = short_mask}).id, 39);
  EXPECT_EQ(SampleOne(large, {.allowed = std::make_shared<const TokenMask>()}).id, -1);
  large[50] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(SampleOne(large, {.temperature = 0, .allowed = short_mask}).id, -1);
}

TEST_P(SamplingTest, DrawsFollowTheSoftmax) {
  for (const float temperature : {1.0f, 0.5f, 3.0f}) {
    const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f, 0.5f, -3.0f, 1.5f, 1.0f};
    const int draws = 20000;
    const std::map<int32_t, int> counts = Histogram(logits, {.temperature = temperature, .seed = 99}, draws);
    double sum = 0, chi_square = 0;
    for (const float logit : logits) sum += std::exp(logit / temperature);
    for (int32_t id = 0; id < 8; ++id) {
      const double expected = draws * std::exp(logits[id] / temperature) / sum;
      const double difference = (counts.contains(id) ? counts.at(id) : 0) - expected;
      chi_square += difference * difference / expected;
    }
    EXPECT_LT(chi_square, 24.32) << "7 degrees of freedom, one in a thousand; temperature " << temperature;
  }
}

TEST_P(SamplingTest, SeedAndDrawFixTheTokenWhateverElseIsInTheBatch) {
  const int64_t rows = 7, vocab = 500;
  std::vector<float> logits = Normal(rows * vocab);
  std::vector<SamplingRow> settings(rows);
  for (int64_t i = 0; i < rows; ++i) {
    settings[i] = {.temperature = 0.9f, .top_k = static_cast<int32_t>(i * 20), .top_p = 0.95f, .seed = 17, .draw = 3};
  }
  std::vector<float> batch = logits;
  const std::vector<SampledToken> together = backend_->Sample(View(batch, {rows, vocab}), settings);
  for (int64_t i = 0; i < rows; ++i) {
    const std::vector<float> row(logits.begin() + i * vocab, logits.begin() + (i + 1) * vocab);
    EXPECT_EQ(SampleOne(row, settings[i]).id, together[i].id);
  }
  std::map<int32_t, int> by_draw = Histogram({0, 0, 0, 0}, {.seed = 1}, 50);
  EXPECT_EQ(by_draw.size(), 4u) << "another draw is another number";
}

TEST_P(SamplingTest, FiltersLimitTheTokensDrawn) {
  const std::vector<float> logits = {0, 3, 2, 1, 2.5f, -8};
  const auto ids = [&](const SamplingRow& row) {
    std::vector<int32_t> drawn;
    for (const auto& [id, count] : Histogram(logits, row, 600)) drawn.push_back(id);
    return drawn;
  };
  EXPECT_THAT(ids({.top_k = 1}), testing::ElementsAre(1));
  EXPECT_THAT(ids({.top_k = 3}), testing::ElementsAre(1, 2, 4));
  EXPECT_THAT(ids({.top_p = 0.4f}), testing::ElementsAre(1));
  EXPECT_THAT(ids({.top_p = 0.7f}), testing::ElementsAre(1, 4));
  EXPECT_THAT(ids({.min_p = 0.3f}), testing::ElementsAre(1, 2, 4));
  EXPECT_THAT(ids({.temperature = 1e-6f}), testing::ElementsAre(1));
  EXPECT_THAT(ids({.temperature = 1e-45f}), testing::ElementsAre(1));
}

TEST_P(SamplingTest, BiasAddsAndForbids) {
  EXPECT_EQ(SampleOne({1, 2, 3}, {.temperature = 0, .biases = {{0, 5.0f}}}).id, 0);
  EXPECT_EQ(SampleOne({1, 2, 3}, {.temperature = 0, .biases = {{2, -kInfinity}}}).id, 1);
  const auto drawn = Histogram({1, 2, 3}, {.biases = {{2, -kInfinity}, {1, -kInfinity}}}, 100);
  EXPECT_EQ(drawn.size(), 1u);
  EXPECT_TRUE(drawn.contains(0));
  const SamplingRow none{.temperature = 0, .biases = {{0, -kInfinity}, {1, -kInfinity}, {2, -kInfinity}}};
  EXPECT_EQ(SampleOne({1, 2, 3}, none).id, -1);
}

TEST_P(SamplingTest, PenaltiesLowerTokensThatOccurred) {
  const auto greedy = [&](const std::vector<float>& logits, SamplingRow row) {
    row.temperature = 0;
    return SampleOne(logits, row).id;
  };
  // Repetition: prompt and output alike; a positive logit is divided, a negative one multiplied.
  EXPECT_EQ(greedy({3, 2}, {.repetition_penalty = 1.6f, .counts = {{0, 1, 0}}}), 1);
  EXPECT_EQ(greedy({3, 2}, {.repetition_penalty = 1.4f, .counts = {{0, 0, 1}}}), 0);
  EXPECT_EQ(greedy({-1, -2}, {.repetition_penalty = 2.5f, .counts = {{0, 0, 1}}}), 1);
  // Presence and frequency: the output only; frequency per occurrence.
  EXPECT_EQ(greedy({3, 2}, {.presence_penalty = 1.5f, .counts = {{0, 4, 0}}}), 0);
  EXPECT_EQ(greedy({3, 2}, {.presence_penalty = 1.5f, .counts = {{0, 0, 9}}}), 1);
  EXPECT_EQ(greedy({3, 2}, {.frequency_penalty = 0.3f, .counts = {{0, 0, 3}}}), 0);
  EXPECT_EQ(greedy({3, 2}, {.frequency_penalty = 0.3f, .counts = {{0, 0, 4}}}), 1);
  // Bias first: (1 + 2) / 2 < 1.75; penalising before the bias would leave 2.5.
  EXPECT_EQ(greedy({1, 1.75f}, {.repetition_penalty = 2, .counts = {{0, 1, 0}}, .biases = {{0, 2.0f}}}), 1);
}

TEST_P(SamplingTest, LogProbsAreThoseOfTheRawLogits) {
  const std::vector<float> logits = Normal(1000, 4.0f);
  const SamplingRow row{.temperature = 0.7f,
                        .top_k = 50,
                        .presence_penalty = 1,
                        .seed = 5,
                        .num_top_logprobs = 7,
                        .counts = {{3, 0, 1}, {500, 1, 2}},
                        .biases = {{500, 40.0f}}};
  const SampledToken sampled = SampleOne(logits, row);
  EXPECT_EQ(sampled.id, 500) << "the bias decides";
  EXPECT_NEAR(sampled.logprob, LogSoftmax(logits, 500), 1e-5);
  ASSERT_EQ(sampled.top.size(), 7u);
  EXPECT_TRUE(std::is_sorted(sampled.top.begin(), sampled.top.end(),
                             [](const TokenLogProb& a, const TokenLogProb& b) { return a.logprob > b.logprob; }));
  for (const auto& [id, logprob] : sampled.top) EXPECT_NEAR(logprob, LogSoftmax(logits, id), 1e-5);
  EXPECT_EQ(sampled.top.front().id, std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST_P(SamplingTest, TheDrawnTokensEntryInTopIsItsLogProb) {
  for (int i = 0; i < 20; ++i) {
    const std::vector<float> logits = Normal(333, 5.0f);
    const SampledToken sampled =
        SampleOne(logits, {.seed = 3, .draw = static_cast<uint64_t>(i), .num_top_logprobs = 333});
    const auto entry =
        std::find_if(sampled.top.begin(), sampled.top.end(), [&](const TokenLogProb& t) { return t.id == sampled.id; });
    ASSERT_NE(entry, sampled.top.end());
    EXPECT_EQ(entry->logprob, sampled.logprob);
  }
}

TEST_P(SamplingTest, TopHoldsTheLowestIdsFirstAmongEqualsAndNothingUnlessAsked) {
  const SampledToken sampled = SampleOne({1, 2, 2, 0}, {.temperature = 0, .num_top_logprobs = 3});
  ASSERT_EQ(sampled.top.size(), 3u);
  EXPECT_EQ(sampled.top[0].id, 1);
  EXPECT_EQ(sampled.top[1].id, 2);
  EXPECT_EQ(sampled.top[2].id, 0);
  EXPECT_TRUE(SampleOne({1, 2}, {.num_top_logprobs = 0}).top.empty());
  EXPECT_EQ(SampleOne({1, 2}, {.num_top_logprobs = -1}).logprob, 0.0f);
}

TEST_P(SamplingTest, ANanRowGivesNoTokenAndHarmsNoOther) {
  const int64_t vocab = 65;
  for (const int64_t place : {0, 40, 64}) {
    std::vector<float> logits = Normal(3 * vocab);
    logits[vocab + place] = NAN;
    const std::vector<SamplingRow> rows(3, {.seed = 8, .num_top_logprobs = 1});
    const std::vector<SampledToken> sampled = backend_->Sample(View(logits, {3, vocab}), rows);
    EXPECT_EQ(sampled[1].id, -1);
    EXPECT_GE(sampled[0].id, 0);
    EXPECT_GE(sampled[2].id, 0);
    EXPECT_TRUE(std::isfinite(sampled[2].logprob));
    const std::vector<ScoredToken> scored =
        backend_->Score(View(logits, {3, vocab}), std::vector<ScoringRow>(3, {.target = 1}));
    EXPECT_EQ(scored[1].top1, -1);
    EXPECT_NEAR(scored[2].logprob, LogSoftmax({logits.begin() + 2 * vocab, logits.end()}, 1), 1e-5);
  }
  EXPECT_EQ(SampleOne({-kInfinity, -kInfinity}, {}).id, -1);
}

TEST_P(SamplingTest, ScoreGivesTheTargetsLogProbAndTheMostLikely) {
  const std::vector<float> logits = Normal(3 * 700, 6.0f);
  const std::vector<ScoringRow> rows = {
      {.target = 9, .num_top_logprobs = 2}, {.target = -1, .num_top_logprobs = 0}, {.target = 699}};
  const std::vector<ScoredToken> scored = backend_->Score(View(logits, {3, 700}), rows);
  for (int64_t i = 0; i < 3; ++i) {
    const std::vector<float> row(logits.begin() + i * 700, logits.begin() + (i + 1) * 700);
    EXPECT_EQ(scored[i].top1, std::max_element(row.begin(), row.end()) - row.begin());
    ASSERT_EQ(scored[i].top.size(), static_cast<size_t>(rows[i].num_top_logprobs));
    if (rows[i].target >= 0) {
      EXPECT_NEAR(scored[i].logprob, LogSoftmax(row, rows[i].target), 1e-5);
    }
  }
  EXPECT_EQ(scored[1].logprob, 0.0f);
  EXPECT_EQ(scored[0].top[0].id, scored[0].top1);
}

}  // namespace
}  // namespace switchyard
