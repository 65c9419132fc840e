#include "kernels/expert_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace switchyard {
namespace {

using Loads = std::vector<ExpertCache::Load>;

TEST(ExpertCache, BeginsEmpty) {
  const ExpertCache cache(4, 2);
  EXPECT_EQ(cache.num_places(), 2);
  for (int expert = 0; expert < 4; ++expert) EXPECT_EQ(cache.PlaceOf(expert), -1);
}

TEST(ExpertCache, ReplacesWhatWasNeededLongestAgo) {
  ExpertCache cache(4, 2);
  EXPECT_EQ(cache.Require(std::vector{0, 1}), Loads({{0, 0}, {1, 1}}));
  EXPECT_EQ(cache.Require(std::vector{1, 2}), Loads({{2, 0}}));
  EXPECT_EQ(cache.Require(std::vector{0, 2}), Loads({{0, 1}}));
  EXPECT_EQ(cache.PlaceOf(1), -1);
  EXPECT_EQ(cache.stats().num_needed, 6u);
  EXPECT_EQ(cache.stats().num_hits, 2u);
}

TEST(ExpertCache, NeverEvictsWhatTheSameStepNeeds) {
  ExpertCache cache(6, 3);
  cache.Require(std::vector{0, 1, 2});
  EXPECT_EQ(cache.Require(std::vector{5, 0, 4}), Loads({{5, 1}, {4, 2}}));
  EXPECT_EQ(cache.PlaceOf(0), 0);
}

TEST(ExpertCache, KeepsWhatWasPrefetchedUntilTheNextStep) {
  ExpertCache cache(6, 3);
  cache.Require(std::vector{0});
  EXPECT_EQ(cache.Prefetch(std::vector{4}), Loads({{4, 1}}));
  EXPECT_EQ(cache.Prefetch(std::vector{4}), Loads());
  // A prefetch for something else leaves 4 where it is, and takes the place that nobody needed.
  EXPECT_EQ(cache.Prefetch(std::vector{4, 5}), Loads({{5, 2}}));
  // Both were guessed wrong: they make room before 0 does.
  EXPECT_EQ(cache.Require(std::vector{3, 0}), Loads({{3, 1}}));
  EXPECT_EQ(cache.stats().num_prefetched, 2u);
  EXPECT_EQ(cache.stats().num_prefetch_hits, 0u);
}

TEST(ExpertCache, CountsAGuessThatWasRightOnce) {
  ExpertCache cache(4, 2);
  EXPECT_EQ(cache.Prefetch(std::vector{3}), Loads({{3, 0}}));
  EXPECT_EQ(cache.Require(std::vector{3}), Loads());
  EXPECT_EQ(cache.Require(std::vector{3}), Loads());
  EXPECT_EQ(cache.stats().num_prefetch_hits, 1u);
  EXPECT_EQ(cache.stats().num_hits, 2u);
}

TEST(ExpertCache, PrefetchesNoMoreThanThereArePlaces) {
  ExpertCache cache(6, 2);
  EXPECT_EQ(cache.Prefetch(std::vector{5, 1, 4, 3}), Loads({{5, 0}, {1, 1}}));
  EXPECT_EQ(cache.Prefetch(std::vector{1, 3}), Loads({{3, 0}}));
}

TEST(ExpertCache, StaysConsistentWhateverIsAsked) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    const int num_experts = 1 + static_cast<int>(random() % 9);
    const int num_places = 1 + static_cast<int>(random() % static_cast<unsigned>(num_experts));
    ExpertCache cache(num_experts, num_places);
    for (int step = 0; step < 50; ++step) {
      std::set<int> wanted;
      const size_t count = random() % static_cast<unsigned>(num_places + 1);
      while (wanted.size() < count) wanted.insert(static_cast<int>(random() % static_cast<unsigned>(num_experts)));
      const std::vector<int> experts(wanted.begin(), wanted.end());
      const bool is_prefetch = random() % 3 == 0;
      const Loads loads = is_prefetch ? cache.Prefetch(experts) : cache.Require(experts);
      for (const auto& load : loads) EXPECT_EQ(cache.PlaceOf(load.expert), load.place);
      std::set<int> places;
      int num_held = 0;
      for (int expert = 0; expert < num_experts; ++expert) {
        if (cache.PlaceOf(expert) < 0) continue;
        places.insert(cache.PlaceOf(expert));
        ++num_held;
      }
      EXPECT_LE(num_held, num_places);
      EXPECT_EQ(static_cast<int>(places.size()), num_held);
      for (const int expert : experts) EXPECT_GE(cache.PlaceOf(expert), 0);
    }
  }
}

}  // namespace
}  // namespace switchyard
