#include "kernels/cpu/token_filter.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"

namespace switchyard {
namespace {

using testing::ElementsAre;

std::vector<int32_t> Kept(const std::vector<float>& weights, int32_t top_k, float top_p, float min_p) {
  const TokenFilter filter(weights, top_k, top_p, min_p);
  std::vector<int32_t> kept;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (filter.Keeps(weights[i], i)) kept.push_back(static_cast<int32_t>(i));
  }
  return kept;
}

TEST(TokenFilter, KeepsAllWithoutLimits) { EXPECT_THAT(Kept({0.5f, 0, 1, 0.1f}, 0, 1, 0), ElementsAre(0, 1, 2, 3)); }

TEST(TokenFilter, TopKKeepsExactlyKAlsoAmongEquals) {
  EXPECT_THAT(Kept({0.5f, 1, 0.5f, 0.5f}, 2, 1, 0), ElementsAre(0, 1));
  EXPECT_THAT(Kept({0.5f, 1, 0.25f, 1}, 2, 1, 0), ElementsAre(1, 3));
  EXPECT_THAT(Kept({0.5f, 1}, 5, 1, 0), ElementsAre(0, 1));
}

TEST(TokenFilter, TopPKeepsTheSmallestSetThatReachesTheShare) {
  const std::vector<float> weights = {1, 0.25f, 0.5f, 0.25f};  // shares 1/2, 1/8, 1/4, 1/8
  EXPECT_THAT(Kept(weights, 0, 0.5f, 0), ElementsAre(0));
  EXPECT_THAT(Kept(weights, 0, 0.51f, 0), ElementsAre(0, 2));
  EXPECT_THAT(Kept(weights, 0, 0.8f, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(Kept(weights, 0, 1e-9f, 0), ElementsAre(0));
}

TEST(TokenFilter, TopPIsAShareOfWhatTopKLeft) {
  // Of all: 4/7, 2/7, 1/7. Of the first two: 2/3, 1/3.
  EXPECT_THAT(Kept({1, 0.5f, 0.25f}, 0, 0.6f, 0), ElementsAre(0, 1));
  EXPECT_THAT(Kept({1, 0.5f, 0.25f}, 2, 0.6f, 0), ElementsAre(0));
}

TEST(TokenFilter, MinPIsAShareOfTheLargest) {
  EXPECT_THAT(Kept({1, 0.5f, 0.25f, 0.5f}, 0, 1, 0.5f), ElementsAre(0, 1, 3));
  EXPECT_THAT(Kept({1, 0.5f, 0.25f}, 0, 1, 1), ElementsAre(0));
  EXPECT_THAT(Kept({1, 0.5f, 0.25f, 0.5f}, 2, 1, 0.1f), ElementsAre(0, 1));
}

TEST(TokenFilter, AgreesWithSortingOnRandomDistributions) {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    std::vector<float> weights(1 + random() % 300);
    const float sharpness = 1.0f + static_cast<float>(random() % 30);
    // Few distinct values: ties everywhere.
    for (float& weight : weights) weight = std::exp(-sharpness * static_cast<float>(random() % 16) / 8);
    weights[random() % weights.size()] = 1;
    const auto top_k = static_cast<int32_t>(random() % 3 == 0 ? 0 : random() % 40);
    const float top_p = random() % 3 == 0 ? 1.0f : static_cast<float>(random() % 1000 + 1) / 1001;
    const float min_p = random() % 2 == 0 ? 0.0f : static_cast<float>(random() % 100) / 400;

    std::vector<int32_t> order = LargestIds(weights, static_cast<int64_t>(weights.size()));
    if (top_k > 0 && static_cast<size_t>(top_k) < order.size()) order.resize(top_k);
    double total = 0, sum = 0;
    for (const int32_t id : order) total += weights[id];
    size_t kept = 0;
    while (kept < order.size() && (kept == 0 || top_p >= 1 || sum < top_p * total - 1e-9))
      sum += weights[order[kept++]];
    order.resize(kept);
    std::erase_if(order, [&](int32_t id) { return weights[id] < min_p; });
    std::sort(order.begin(), order.end());
    EXPECT_EQ(Kept(weights, top_k, top_p, min_p), order) << "round " << round;
  }
}

TEST(LargestIds, OrdersByValueThenId) {
  EXPECT_THAT(LargestIds(std::vector<float>{1, 3, 2, 3, -1}, 3), ElementsAre(1, 3, 2));
  EXPECT_THAT(LargestIds(std::vector<float>{1, 3}, 9), ElementsAre(1, 0));
  EXPECT_TRUE(LargestIds(std::vector<float>{1, 3}, 0).empty());
}

}  // namespace
}  // namespace switchyard
