#include "parallel/exchange_cost.h"

#include <gtest/gtest.h>

#include <vector>

#include "parallel/communicators/in_process.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

constexpr ExchangeStrategy kDivided[] = {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather};
constexpr ExchangeStrategy kAll[] = {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather,
                                     ExchangeStrategy::kAllReduce};

// Every collective alike.
ExchangeCosts Uniform(double latency_seconds, double bytes_per_second) {
  const CollectiveCost cost{.latency_seconds = latency_seconds, .seconds_per_byte = 1 / bytes_per_second};
  return {cost, cost, cost, cost};
}

ExchangeLoad Load(int num_ranks, int64_t tokens_per_rank) {
  return {.num_ranks = num_ranks,
          .num_tokens = num_ranks * tokens_per_rank,
          .max_rank_tokens = tokens_per_rank,
          .hidden_size = 4096,
          .top_k = 2};
}

TEST(ExchangeCost, CountsCollectivesWhereLatencyRules) {
  const ExchangeCosts costs = Uniform(40e-6, 1e15);
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllToAll, Load(4, 1)), 120e-6, 1e-9);
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllGather, Load(4, 1)), 80e-6, 1e-9);
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllReduce, Load(4, 1)), 40e-6, 1e-9);
}

TEST(ExchangeCost, CountsBytesWhereBandwidthRules) {
  const ExchangeCosts costs = Uniform(0, 1e9);
  ExchangeLoad load = Load(2, 100);
  load.top_k = 1;  // each row to one rank
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllToAll, load), (100 * (16384 + 8 + 16384) + 8) * 1e-9, 1e-12);
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllGather, load), 200 * (16384 + 8 + 16384) * 1e-9, 1e-12);
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllReduce, load), 200 * 16384 * 1e-9, 1e-12);
}

TEST(ExchangeCost, ExpectsATokenToVisitFewerRanksThanItHasExperts) {
  const ExchangeCosts costs = Uniform(0, 1e9);
  ExchangeLoad load = Load(2, 1000);
  load.top_k = 2;  // both on one rank half of the time: 1.5 ranks
  EXPECT_NEAR(EstimateSeconds(costs, ExchangeStrategy::kAllToAll, load), 1500 * (16384 + 16 + 16384) * 1e-9, 1e-7);
}

TEST(ExchangeCost, ChoosesAllGatherForFewTokensAndAllToAllForManyRanksAndTokens) {
  const ExchangeCosts costs = Uniform(40e-6, 10e9);
  EXPECT_EQ(ChooseExchange(costs, Load(8, 1), kDivided), ExchangeStrategy::kAllGather);
  EXPECT_EQ(ChooseExchange(costs, Load(8, 1024), kDivided), ExchangeStrategy::kAllToAll);
}

TEST(ExchangeCost, ChoosesAllReduceForOneTokenWhereTheLayoutAllowsIt) {
  const ExchangeCosts costs = Uniform(40e-6, 10e9);
  EXPECT_EQ(ChooseExchange(costs, Load(2, 1), kAll), ExchangeStrategy::kAllReduce);
  EXPECT_EQ(ChooseExchange(costs, Load(2, 1), kDivided), ExchangeStrategy::kAllGather);
}

TEST(ExchangeCost, AvoidsTheCollectiveThatIsSlowHere) {
  ExchangeCosts costs = Uniform(40e-6, 10e9);
  costs.reduce_scatter.latency_seconds = 1;
  EXPECT_EQ(ChooseExchange(costs, Load(4, 1), kDivided), ExchangeStrategy::kAllToAll);
}

TEST(ExchangeCost, TakesTheFirstAllowedAmongEquals) {
  EXPECT_EQ(ChooseExchange(Uniform(40e-6, 10e9), Load(1, 7), kAll), ExchangeStrategy::kAllToAll);
  const ExchangeStrategy one[] = {ExchangeStrategy::kAllReduce};
  EXPECT_EQ(ChooseExchange(Uniform(1, 1), Load(8, 4096), one), ExchangeStrategy::kAllReduce);
}

TEST(ExchangeCost, GivesEveryRankTheFiguresOfRankZero) {
  constexpr int kRanks = 3;
  const auto communicators = CreateInProcessCommunicators(kRanks, absl::Seconds(60));
  std::vector<ExchangeCosts> costs(kRanks);
  RunRanks(kRanks, [&](int rank) {
    const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
    const auto measured = MeasureExchangeCosts(*backend, *communicators[rank]);
    ASSERT_TRUE(measured.ok()) << measured.status();
    costs[rank] = *measured;
  });
  EXPECT_GT(costs[0].all_to_all.latency_seconds, 0);
  EXPECT_GT(costs[0].all_reduce.Seconds(1e6), costs[0].all_reduce.Seconds(0) * 0.999);
  for (int rank = 1; rank < kRanks; ++rank) EXPECT_EQ(costs[rank].ToString(), costs[0].ToString());
}

TEST(ExchangeCost, CostsOneRankNothing) {
  const auto communicators = CreateInProcessCommunicators(1, absl::Seconds(60));
  const auto backend = CreateCpuBackend({.num_threads = 1, .reference = true});
  const auto measured = MeasureExchangeCosts(*backend, *communicators[0]);
  ASSERT_TRUE(measured.ok());
  for (const ExchangeStrategy strategy : kAll) EXPECT_EQ(EstimateSeconds(*measured, strategy, Load(1, 100)), 0);
}

}  // namespace
}  // namespace switchyard
