#include "parallel/exchange_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace switchyard {
namespace {

template <typename T>
std::vector<T> ToVector(std::span<const T> values) {
  return {values.begin(), values.end()};
}

TEST(ExchangePlan, SendsATokenOncePerRankHoweverManyOfItsExpertsLiveThere) {
  const ExpertPlacement placement = ExpertPlacement::Contiguous(8, 2);
  const std::vector<int32_t> slots = {0, 3, 4, 7, 1, 5};  // both on rank 0, both on rank 1, one each
  const ExchangePlan plan = ExchangePlan::Build(slots, 2, placement);
  EXPECT_EQ(ToVector(plan.send_rows()), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(ToVector(plan.send_index()), (std::vector<int32_t>{0, 2, 1, 2}));
  EXPECT_EQ(ToVector(plan.sum_begin()), (std::vector<int32_t>{0, 1, 2, 4}));
  EXPECT_EQ(ToVector(plan.sum_index()), (std::vector<int32_t>{0, 2, 1, 3}));
}

TEST(ExchangePlan, OfNoTokensSendsNothing) {
  const ExchangePlan plan = ExchangePlan::Build({}, 2, ExpertPlacement::Contiguous(8, 3));
  EXPECT_EQ(plan.num_tokens(), 0);
  EXPECT_EQ(plan.num_sent_rows(), 0);
  EXPECT_EQ(ToVector(plan.send_rows()), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(ToVector(plan.sum_begin()), (std::vector<int32_t>{0}));
}

TEST(ExchangePlan, DropsSlotsThatNameNoExpert) {
  const std::vector<int32_t> slots = {-1, -1, -1, 1};
  const ExchangePlan plan = ExchangePlan::Build(slots, 2, ExpertPlacement::Contiguous(2, 2));
  EXPECT_EQ(ToVector(plan.send_rows()), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(ToVector(plan.send_index()), (std::vector<int32_t>{1}));
  EXPECT_EQ(ToVector(plan.sum_begin()), (std::vector<int32_t>{0, 0, 1}));
}

TEST(ExchangePlan, SendsAllRowsToOneRankWhenItOwnsAllChosenExperts) {
  const std::vector<int32_t> slots = {6, 7, 7, 6, 6, 6};
  const ExchangePlan plan = ExchangePlan::Build(slots, 2, ExpertPlacement::Contiguous(8, 4));
  EXPECT_EQ(ToVector(plan.send_rows()), (std::vector<int64_t>{0, 0, 0, 3}));
  EXPECT_EQ(ToVector(plan.sum_index()), (std::vector<int32_t>{0, 1, 2}));
}

struct Routing {
  ExpertPlacement placement;
  int64_t top_k;
  std::vector<int32_t> slots;
};

// Any placement, with copies and empty ranks; rows with repeated and missing slots; sometimes all on one rank.
Routing RandomRouting(std::mt19937& random) {
  const auto uniform = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  const int num_experts = uniform(1, 24);
  const int num_ranks = uniform(1, 9);
  std::vector<std::vector<int>> lists(num_ranks);
  for (int expert = 0; expert < num_experts; ++expert) {
    std::set<int> homes = {uniform(0, num_ranks - 1)};
    if (uniform(0, 3) == 0) homes.insert(uniform(0, num_ranks - 1));
    for (const int rank : homes) lists[rank].push_back(expert);
  }
  Routing routing{*ExpertPlacement::FromLists(num_experts, lists), uniform(1, 6), {}};
  const int num_tokens = uniform(0, 3) == 0 ? uniform(0, 2) : uniform(0, 60);
  const int last_slot = routing.placement.num_slots() - 1;
  const bool skewed = uniform(0, 4) == 0;
  const int favourite = uniform(0, last_slot);
  for (int64_t i = 0; i < num_tokens * routing.top_k; ++i) {
    routing.slots.push_back(skewed ? favourite : uniform(0, 9) == 0 ? -1 : uniform(0, last_slot));
  }
  return routing;
}

// What a plan promises, stated without building one.
void ExpectPlanOf(const Routing& routing, const ExchangePlan& plan) {
  const int64_t num_tokens = static_cast<int64_t>(routing.slots.size()) / routing.top_k;
  ASSERT_EQ(plan.num_tokens(), num_tokens);
  ASSERT_EQ(static_cast<int>(plan.send_rows().size()), routing.placement.num_ranks());
  ASSERT_EQ(std::accumulate(plan.send_rows().begin(), plan.send_rows().end(), int64_t{0}), plan.num_sent_rows());

  std::vector<int> rank_of_row;
  for (int rank = 0; rank < routing.placement.num_ranks(); ++rank) {
    rank_of_row.insert(rank_of_row.end(), plan.send_rows()[rank], rank);
  }
  std::vector<bool> row_used(plan.num_sent_rows());
  ASSERT_EQ(plan.sum_begin().front(), 0);
  ASSERT_EQ(plan.sum_begin().back(), plan.num_sent_rows());
  for (int64_t token = 0; token < num_tokens; ++token) {
    std::set<int> wanted;
    for (int64_t k = 0; k < routing.top_k; ++k) {
      const int32_t slot = routing.slots[token * routing.top_k + k];
      if (slot >= 0) wanted.insert(routing.placement.RankOfSlot(slot));
    }
    std::vector<int> visited;
    for (int32_t j = plan.sum_begin()[token]; j < plan.sum_begin()[token + 1]; ++j) {
      const int32_t row = plan.sum_index()[j];
      ASSERT_EQ(plan.send_index()[row], token) << "the row that returns is not this token's";
      ASSERT_FALSE(row_used[row]) << "a row is summed twice";
      row_used[row] = true;
      visited.push_back(rank_of_row[row]);
    }
    // A set is ascending: each rank once, in rank order.
    ASSERT_EQ(visited, std::vector<int>(wanted.begin(), wanted.end()));
  }
  ASSERT_TRUE(std::all_of(row_used.begin(), row_used.end(), [](bool used) { return used; }));
  // Tokens of one rank's block keep their order.
  for (int64_t row = 1; row < plan.num_sent_rows(); ++row) {
    if (rank_of_row[row] != rank_of_row[row - 1]) continue;
    ASSERT_LT(plan.send_index()[row - 1], plan.send_index()[row]);
  }
}

TEST(ExchangePlan, IsAPermutationWithItsInverseForRandomRoutings) {
  std::mt19937 random(20240607);
  ExchangePlan recycled;
  for (int round = 0; round < 5000; ++round) {
    const Routing routing = RandomRouting(random);
    ExpectPlanOf(routing, ExchangePlan::Build(routing.slots, routing.top_k, routing.placement));
    recycled = ExchangePlan::Build(routing.slots, routing.top_k, routing.placement, std::move(recycled));
    ExpectPlanOf(routing, recycled);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

TEST(ExchangePlan, ReusesTheMemoryOfAnOldPlan) {
  const ExpertPlacement placement = ExpertPlacement::Contiguous(4, 2);
  const std::vector<int32_t> slots = {0, 2, 3, 1, 1, 2};
  ExchangePlan plan = ExchangePlan::Build(slots, 2, placement);
  const int32_t* memory = plan.send_index().data();
  plan = ExchangePlan::Build(slots, 2, placement, std::move(plan));
  EXPECT_EQ(plan.send_index().data(), memory);
}

}  // namespace
}  // namespace switchyard
