#include "parallel/expert_exchange.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "parallel/communicators/in_process.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

constexpr ExchangeStrategy kStrategies[] = {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather,
                                            ExchangeStrategy::kAllReduce};

// One rank's tokens and what the router chose for them.
struct RankTokens {
  std::vector<float> tokens;     // [t, hidden]
  std::vector<int32_t> experts;  // [t, top_k]
  std::vector<float> weights;    // [t, top_k]
};

// A stand-in for an expert network that tells experts, tokens and columns apart.
float FakeExpert(int expert, float x) { return static_cast<float>(expert + 1) * x + 0.5f * static_cast<float>(expert); }

// What a rank's RunExperts does, with fake experts.
void RunFakeExperts(const ExpertPlacement& placement, int rank, const DispatchedRows& dispatched) {
  const int64_t n = dispatched.rows.dim(0);
  const int64_t hidden = dispatched.rows.dim(1);
  const int64_t top_k = dispatched.slots.dim(1);
  const auto rows = dispatched.rows.As<float>();
  const auto slots = dispatched.slots.As<int32_t>();
  const auto weights = dispatched.weights.As<float>();
  const auto sums = dispatched.sums.As<float>();
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t i = 0; i < hidden; ++i) {
      float sum = 0;
      for (int64_t k = 0; k < top_k; ++k) {
        const int32_t slot = slots[row * top_k + k];
        if (slot < 0 || placement.RankOfSlot(slot) != rank) continue;
        sum += weights[row * top_k + k] * FakeExpert(placement.ExpertOfSlot(slot), rows[row * hidden + i]);
      }
      sums[row * hidden + i] = sum;
    }
  }
}

// The same without ranks.
std::vector<float> Direct(const RankTokens& input, int64_t hidden, int64_t top_k) {
  std::vector<float> out(input.tokens.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t token = i / hidden;
    for (int64_t k = 0; k < top_k; ++k) {
      const int32_t expert = input.experts[token * top_k + k];
      if (expert >= 0) out[i] += input.weights[token * top_k + k] * FakeExpert(expert, input.tokens[i]);
    }
  }
  return out;
}

RankTokens Concatenated(const std::vector<RankTokens>& ranks) {
  RankTokens all;
  for (const RankTokens& rank : ranks) {
    all.tokens.insert(all.tokens.end(), rank.tokens.begin(), rank.tokens.end());
    all.experts.insert(all.experts.end(), rank.experts.begin(), rank.experts.end());
    all.weights.insert(all.weights.end(), rank.weights.begin(), rank.weights.end());
  }
  return all;
}

// Runs several layers over one exchange per rank; returns each rank's output of the last one.
std::vector<std::vector<float>> Exchange(ExchangeStrategy strategy, const ExpertPlacement& placement, int64_t hidden,
                                         int64_t top_k, const std::vector<RankTokens>& inputs) {
  const int size = static_cast<int>(inputs.size());
  const RankTokens all = Concatenated(inputs);
  const int64_t max_tokens = static_cast<int64_t>(all.tokens.size()) / hidden;
  int64_t max_rank_tokens = strategy == ExchangeStrategy::kAllReduce ? max_tokens : 0;
  for (const RankTokens& input : inputs) {
    max_rank_tokens = std::max(max_rank_tokens, static_cast<int64_t>(input.tokens.size()) / hidden);
  }
  std::vector<std::vector<float>> outputs(size);
  const auto communicators = CreateInProcessCommunicators(size, absl::Seconds(60));
  RunRanks(size, [&](int rank) {
    const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
    const auto exchange = CreateExpertExchange({.hidden_size = hidden, .top_k = top_k, .max_tokens = max_tokens},
                                               *backend, *communicators[rank], placement);
    ASSERT_TRUE(exchange.ok()) << exchange.status();
    const RankTokens& mine = strategy == ExchangeStrategy::kAllReduce ? all : inputs[rank];
    const int64_t t = static_cast<int64_t>(mine.tokens.size()) / hidden;
    for (int layer = 0; layer < 3; ++layer) {
      const auto dispatched =
          (*exchange)->Dispatch(strategy, ConstTensorView::Of(std::span(mine.tokens), {t, hidden}),
                                ConstTensorView::Of(std::span(mine.experts), {t, top_k}),
                                ConstTensorView::Of(std::span(mine.weights), {t, top_k}), max_rank_tokens);
      ASSERT_TRUE(dispatched.ok()) << dispatched.status();
      RunFakeExperts(placement, rank, *dispatched);
      const auto out = (*exchange)->Combine();
      ASSERT_TRUE(out.ok()) << out.status();
      ASSERT_EQ(out->shape(), (Shape{t, hidden}));
      const auto values = out->As<float>();
      outputs[rank].assign(values.begin(), values.end());
    }
  });
  return outputs;
}

// Every strategy gives every rank the tokens that it started with, summed over their experts.
void ExpectEveryStrategyRight(const ExpertPlacement& placement, int64_t hidden, int64_t top_k,
                              const std::vector<RankTokens>& inputs) {
  std::map<ExchangeStrategy, std::vector<float>> of_all_tokens;
  for (const ExchangeStrategy strategy : kStrategies) {
    SCOPED_TRACE(Name(strategy));
    const auto outputs = Exchange(strategy, placement, hidden, top_k, inputs);
    for (size_t rank = 0; rank < inputs.size(); ++rank) {
      SCOPED_TRACE(testing::Message() << "rank " << rank);
      const bool all = strategy == ExchangeStrategy::kAllReduce;
      const std::vector<float> expected = Direct(all ? Concatenated(inputs) : inputs[rank], hidden, top_k);
      ASSERT_EQ(outputs[rank].size(), expected.size());
      // Ranks add in another order than one rank does: a rounding error for each of top_k additions.
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(outputs[rank][i], expected[i], 1e-6 * top_k * (1 + std::abs(expected[i])));
      }
      auto& sums = of_all_tokens[strategy];
      if (!all || rank == 0) sums.insert(sums.end(), outputs[rank].begin(), outputs[rank].end());
    }
    EXPECT_EQ(of_all_tokens[strategy], of_all_tokens[kStrategies[0]]) << "strategies differ in bits";
  }
}

RankTokens RandomTokens(std::mt19937& random, int64_t t, int64_t hidden, int64_t top_k, int num_experts) {
  std::uniform_real_distribution<float> value(-1, 1);
  std::uniform_int_distribution<int> expert(0, num_experts - 1);
  RankTokens input;
  for (int64_t i = 0; i < t * hidden; ++i) input.tokens.push_back(value(random));
  for (int64_t i = 0; i < t * top_k; ++i) {
    input.experts.push_back(expert(random));
    input.weights.push_back(value(random));
  }
  return input;
}

// The example at the top of expert_exchange.h, number by number. Hidden size 1; A, B, C, D are 1, 2, 3, 4.
TEST(ExpertExchange, FollowsTheWorkedExample) {
  const ExpertPlacement placement = ExpertPlacement::Contiguous(8, 2);
  const std::vector<RankTokens> inputs = {{{1, 2}, {1, 5, 2, 0}, {.75, .25, .5, .5}},
                                          {{3, 4}, {6, 4, 3, 7}, {.5, .5, .25, .75}}};
  const std::vector<float> held_rows[] = {{1, 2, 4}, {1, 3, 4}};
  const std::vector<int32_t> held_slots[] = {{1, 5, 2, 0, 3, 7}, {1, 5, 6, 4, 3, 7}};
  const auto E = FakeExpert;
  const std::vector<float> sums[] = {{.75f * E(1, 1), .5f * E(2, 2) + .5f * E(0, 2), .25f * E(3, 4)},
                                     {.25f * E(5, 1), .5f * E(6, 3) + .5f * E(4, 3), .75f * E(7, 4)}};
  const std::vector<float> combined[] = {{.75f * E(1, 1) + .25f * E(5, 1), .5f * E(2, 2) + .5f * E(0, 2)},
                                         {.5f * E(6, 3) + .5f * E(4, 3), .25f * E(3, 4) + .75f * E(7, 4)}};
  const auto communicators = CreateInProcessCommunicators(2, absl::Seconds(60));
  RunRanks(2, [&](int rank) {
    const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
    const auto exchange = CreateExpertExchange({.hidden_size = 1, .top_k = 2, .max_tokens = 4}, *backend,
                                               *communicators[rank], placement);
    ASSERT_TRUE(exchange.ok()) << exchange.status();
    const auto dispatched =
        (*exchange)->Dispatch(ExchangeStrategy::kAllToAll, ConstTensorView::Of(std::span(inputs[rank].tokens), {2, 1}),
                              ConstTensorView::Of(std::span(inputs[rank].experts), {2, 2}),
                              ConstTensorView::Of(std::span(inputs[rank].weights), {2, 2}), 2);
    ASSERT_TRUE(dispatched.ok()) << dispatched.status();
    const auto rows = dispatched->rows.As<float>();
    EXPECT_EQ(std::vector<float>(rows.begin(), rows.end()), held_rows[rank]);
    const auto slots = dispatched->slots.As<int32_t>();
    EXPECT_EQ(std::vector<int32_t>(slots.begin(), slots.end()), held_slots[rank]);

    RunFakeExperts(placement, rank, *dispatched);
    const auto local = dispatched->sums.As<float>();
    EXPECT_EQ(std::vector<float>(local.begin(), local.end()), sums[rank]);
    const auto out = (*exchange)->Combine();
    ASSERT_TRUE(out.ok()) << out.status();
    const auto values = out->As<float>();
    EXPECT_EQ(std::vector<float>(values.begin(), values.end()), combined[rank]);
  });
}

TEST(ExpertExchange, ReturnsEveryTokenToItsOwner) {
  std::mt19937 random(1);
  for (int size = 1; size <= 5; ++size) {
    for (const int64_t top_k : {1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << size << " ranks, top " << top_k);
      std::vector<RankTokens> inputs;
      for (int rank = 0; rank < size; ++rank) inputs.push_back(RandomTokens(random, 7, 5, top_k, 8));
      ExpectEveryStrategyRight(ExpertPlacement::Contiguous(8, size), 5, top_k, inputs);
    }
  }
}

TEST(ExpertExchange, TakesUnevenCountsAndRanksWithoutTokens) {
  std::mt19937 random(2);
  for (const std::vector<int>& counts : {std::vector<int>{0, 9, 1}, {5, 0, 0}, {0, 0, 1}, {3, 4, 2, 0, 11}}) {
    std::vector<RankTokens> inputs;
    for (const int t : counts) inputs.push_back(RandomTokens(random, t, 4, 2, 6));
    ExpectEveryStrategyRight(ExpertPlacement::Contiguous(6, static_cast<int>(counts.size())), 4, 2, inputs);
  }
}

TEST(ExpertExchange, TakesAStepWithoutAnyTokens) {
  ExpectEveryStrategyRight(ExpertPlacement::Contiguous(4, 3), 4, 2, std::vector<RankTokens>(3));
}

TEST(ExpertExchange, TakesMoreRanksThanExperts) {
  std::mt19937 random(3);
  std::vector<RankTokens> inputs;
  for (int rank = 0; rank < 5; ++rank) inputs.push_back(RandomTokens(random, 4, 3, 1, 2));
  ExpectEveryStrategyRight(ExpertPlacement::Contiguous(2, 5), 3, 1, inputs);
}

TEST(ExpertExchange, SendsAllTokensToOneRankAndBack) {
  std::mt19937 random(4);
  for (int owner = 0; owner < 3; ++owner) {
    std::vector<RankTokens> inputs;
    for (int rank = 0; rank < 3; ++rank) {
      inputs.push_back(RandomTokens(random, 6, 4, 2, 9));
      for (int32_t& expert : inputs.back().experts) expert = 3 * owner + expert % 3;
    }
    ExpectEveryStrategyRight(ExpertPlacement::Contiguous(9, 3), 4, 2, inputs);
  }
}

TEST(ExpertExchange, UsesTheCopiesOfDuplicatedExperts) {
  std::mt19937 random(5);
  const auto placement = ExpertPlacement::FromLists(4, {{3, 0}, {1, 0}, {0, 2, 3}});
  ASSERT_TRUE(placement.ok());
  std::vector<RankTokens> inputs;
  for (int rank = 0; rank < 3; ++rank) inputs.push_back(RandomTokens(random, 8, 4, 2, 4));
  ExpectEveryStrategyRight(*placement, 4, 2, inputs);
}

TEST(ExpertExchange, CountsAnExpertTwiceWhenARowNamesItTwice) {
  std::mt19937 random(6);
  std::vector<RankTokens> inputs;
  for (int rank = 0; rank < 2; ++rank) {
    inputs.push_back(RandomTokens(random, 5, 3, 3, 4));
    for (size_t i = 0; i < inputs.back().experts.size(); i += 3) {
      inputs.back().experts[i + 1] = inputs.back().experts[i];
    }
  }
  ExpectEveryStrategyRight(ExpertPlacement::Contiguous(4, 2), 3, 3, inputs);
}

TEST(ExpertExchange, GivesZeroToATokenWithoutExperts) {
  std::mt19937 random(7);
  std::vector<RankTokens> inputs;
  for (int rank = 0; rank < 2; ++rank) inputs.push_back(RandomTokens(random, 4, 3, 2, 4));
  inputs[0].experts.assign(8, -1);
  inputs[1].experts[2] = -1;
  const auto placement = ExpertPlacement::FromLists(4, {{0, 1}, {2, 3, 0}});
  ExpectEveryStrategyRight(*placement, 3, 2, inputs);
  ExpectEveryStrategyRight(ExpertPlacement::Contiguous(4, 2), 3, 2, inputs);
}

TEST(ExpertExchange, WithOneRankHandsOutTheCallersTensorsAndTheSumsThemselves) {
  std::mt19937 random(8);
  const RankTokens input = RandomTokens(random, 4, 3, 2, 4);
  const auto communicators = CreateInProcessCommunicators(1, absl::Seconds(60));
  const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
  const ExpertPlacement placement = ExpertPlacement::Contiguous(4, 1);
  const auto exchange =
      CreateExpertExchange({.hidden_size = 3, .top_k = 2, .max_tokens = 4}, *backend, *communicators[0], placement);
  ASSERT_TRUE(exchange.ok());
  for (const ExchangeStrategy strategy : kStrategies) {
    const auto dispatched = (*exchange)->Dispatch(strategy, ConstTensorView::Of(std::span(input.tokens), {4, 3}),
                                                  ConstTensorView::Of(std::span(input.experts), {4, 2}),
                                                  ConstTensorView::Of(std::span(input.weights), {4, 2}), 4);
    ASSERT_TRUE(dispatched.ok());
    EXPECT_EQ(dispatched->rows.data(), input.tokens.data());
    EXPECT_EQ(dispatched->slots.data(), input.experts.data());
    const auto out = (*exchange)->Combine();
    ASSERT_TRUE(out.ok());
    EXPECT_EQ(out->data(), dispatched->sums.data());
  }
}

TEST(ExpertExchange, RefusesAPlacementForOtherRanks) {
  const auto communicators = CreateInProcessCommunicators(2, absl::Seconds(60));
  const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
  const ExpertPlacement placement = ExpertPlacement::Contiguous(4, 3);
  EXPECT_EQ(
      CreateExpertExchange({.hidden_size = 3, .top_k = 2, .max_tokens = 4}, *backend, *communicators[0], placement)
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(ExpertExchange, PassesOnTheFailureOfTheCommunicator) {
  std::mt19937 random(9);
  const auto communicators = CreateInProcessCommunicators(2, absl::Seconds(60));
  communicators[1]->Abort(absl::UnavailableError("rank 1 has left"));
  const RankTokens input = RandomTokens(random, 4, 3, 2, 4);
  const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
  const ExpertPlacement placement = ExpertPlacement::Contiguous(4, 2);
  const auto exchange =
      CreateExpertExchange({.hidden_size = 3, .top_k = 2, .max_tokens = 8}, *backend, *communicators[0], placement);
  ASSERT_TRUE(exchange.ok());
  const auto dispatched = (*exchange)->Dispatch(
      ExchangeStrategy::kAllToAll, ConstTensorView::Of(std::span(input.tokens), {4, 3}),
      ConstTensorView::Of(std::span(input.experts), {4, 2}), ConstTensorView::Of(std::span(input.weights), {4, 2}), 4);
  EXPECT_EQ(dispatched.status(), absl::UnavailableError("rank 1 has left"));
  EXPECT_EQ((*exchange)->Combine().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace switchyard
