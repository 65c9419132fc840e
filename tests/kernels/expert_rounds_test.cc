#include "kernels/expert_rounds.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

// What happens, in order: "load 4@0 5@2", "begun", "compute 1".
std::vector<std::string> Record(ExpertCache& cache, const std::vector<int>& needed) {
  std::vector<std::string> calls;
  RunInRounds(cache, needed,
              {.load =
                   [&](std::span<const ExpertCache::Load> loads) {
                     calls.emplace_back("load");
                     for (const auto& load : loads) absl::StrAppend(&calls.back(), " ", load.expert, "@", load.place);
                   },
               .all_loading = [&] { calls.emplace_back("begun"); },
               .compute =
                   [&](std::span<const int> experts) {
                     calls.emplace_back("compute");
                     for (const int expert : experts) absl::StrAppend(&calls.back(), " ", expert);
                   }});
  return calls;
}

using Calls = std::vector<std::string>;

TEST(RunInRounds, ComputesWhatIsThereWhileTheRestIsCopied) {
  ExpertCache cache(8, 4);
  cache.Require(std::vector{0, 1, 2, 3});
  EXPECT_EQ(Record(cache, {1, 4, 5}), (Calls{"load 4@0 5@2", "begun", "compute 1", "compute 4 5"}));
}

TEST(RunInRounds, FillsOneHalfWhileTheOtherIsComputed) {
  ExpertCache cache(8, 4);
  cache.Require(std::vector{0, 1, 2, 3});
  EXPECT_EQ(Record(cache, {1, 4, 5, 6, 7}),
            (Calls{"load 4@0 5@2", "compute 1", "load 6@3 7@1", "begun", "compute 4 5", "compute 6 7"}));
}

TEST(RunInRounds, TakesTurnsInOnePlace) {
  ExpertCache cache(3, 1);
  EXPECT_EQ(Record(cache, {0, 2}), (Calls{"load 0@0", "compute 0", "load 2@0", "begun", "compute 2"}));
  EXPECT_EQ(Record(cache, {2}), (Calls{"begun", "compute 2"}));
}

TEST(RunInRounds, LetsAGuessGoWhereNothingIsNeeded) {
  ExpertCache cache(4, 2);
  cache.Require(std::vector{0});
  cache.Prefetch(std::vector{3});
  EXPECT_EQ(Record(cache, {}), (Calls{"begun"}));
  EXPECT_EQ(Record(cache, {1, 0}), (Calls{"load 1@1", "begun", "compute 0", "compute 1"}));
}

TEST(RunInRounds, HasEveryExpertInItsPlaceWhileItIsComputed) {
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    const int num_experts = 1 + static_cast<int>(random() % 12);
    const int num_places = 1 + static_cast<int>(random() % static_cast<unsigned>(num_experts));
    ExpertCache cache(num_experts, num_places);
    std::vector<int> held(static_cast<size_t>(num_places), -1);  // what was copied to each place last
    std::vector<int> all(static_cast<size_t>(num_experts));
    std::iota(all.begin(), all.end(), 0);
    for (int step = 0; step < 20; ++step) {
      std::shuffle(all.begin(), all.end(), random);
      const std::vector<int> needed(all.begin(), all.begin() + static_cast<int>(random() % (all.size() + 1)));
      std::vector<int> computed;
      int num_begun = 0;
      const auto copy = [&](std::span<const ExpertCache::Load> loads) {
        for (const auto& load : loads) held[static_cast<size_t>(load.place)] = load.expert;
      };
      RunInRounds(cache, needed,
                  {.load = copy,
                   .all_loading = [&] { ++num_begun; },
                   .compute =
                       [&](std::span<const int> experts) {
                         for (const int expert : experts) {
                           ASSERT_GE(cache.PlaceOf(expert), 0);
                           EXPECT_EQ(held[static_cast<size_t>(cache.PlaceOf(expert))], expert);
                           computed.push_back(expert);
                         }
                       }});
      EXPECT_EQ(num_begun, 1);
      std::vector<int> expected = needed;
      std::sort(expected.begin(), expected.end());
      std::sort(computed.begin(), computed.end());
      EXPECT_EQ(computed, expected);
      copy(cache.Prefetch(std::span(all).first(random() % (all.size() + 1))));
    }
  }
}

}  // namespace
}  // namespace switchyard
