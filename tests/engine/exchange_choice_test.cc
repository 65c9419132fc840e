#include "engine/exchange_choice.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

// Every collective costs `latency` and moves `bandwidth` bytes a second.
ExchangeCosts UniformCosts(double latency, double bandwidth) {
  const CollectiveCost cost = {.latency_seconds = latency, .seconds_per_byte = 1 / bandwidth};
  return {.all_to_all = cost, .all_gather = cost, .reduce_scatter = cost, .all_reduce = cost};
}

constexpr ExchangeLoad kDecode = {
    .num_ranks = 2, .num_tokens = 1, .max_rank_tokens = 1, .hidden_size = 4096, .top_k = 2};

TEST(ExchangeChoice, ASingleRequestOverSlowLinksTakesTheFewestCollectives) {
  const ExchangeCosts costs = UniformCosts(40e-6, 12e9);
  const double all_reduce = LayerExchangeSeconds(costs, ExchangeStrategy::kAllReduce, kDecode, true);
  EXPECT_LT(all_reduce, LayerExchangeSeconds(costs, ExchangeStrategy::kAllToAll, kDecode, true));
  EXPECT_LT(all_reduce, LayerExchangeSeconds(costs, ExchangeStrategy::kAllGather, kDecode, true));
}

TEST(ExchangeChoice, SplitHeadsAddTheirOwnCollectives) {
  const ExchangeCosts costs = UniformCosts(1e-5, 1e10);
  for (const auto strategy :
       {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
    EXPECT_GE(LayerExchangeSeconds(costs, strategy, kDecode, true),
              LayerExchangeSeconds(costs, strategy, kDecode, false) + 1e-5);
  }
}

TEST(ExchangeChoice, AFlagLeavesNoChoice) {
  DecoderSpec spec;
  spec.hidden_size = 64;
  spec.max_position_embeddings = 128;
  spec.num_layers = 1;
  spec.num_heads = spec.num_kv_heads = 2;
  spec.head_dim = 32;
  spec.num_experts = 4;
  spec.experts_per_token = 2;
  const auto plan = MakeEnginePlan({.exchange = ExchangeStrategy::kAllGather}, spec, 2);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(ChooseStepExchange(UniformCosts(1, 1), *plan, spec, Batch()), ExchangeStrategy::kAllGather);
}

}  // namespace
}  // namespace switchyard
