#include "kernels/cuda/expert_permutation.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/experts_scratch.h"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

using ::testing::ElementsAre;

// The lists of an ExpertPermutation, on the host.
struct Lists {
  std::vector<int32_t> offsets;
  std::vector<int32_t> entry_row;
  std::vector<float> entry_weight;
  std::vector<int32_t> place;
  std::vector<int32_t> active_experts;
  std::vector<int32_t> tile_begin;
  std::vector<int32_t> tile_expert;
};

struct Step {
  int64_t top_k = 1;
  int64_t first_slot = 0;
  int64_t num_experts = 0;
  std::vector<int32_t> slots = {};
  std::vector<float> weights = {};
};

// Weights that name their pair.
Step MakeStep(int64_t top_k, int64_t first_slot, int64_t num_experts, std::vector<int32_t> slots) {
  Step step{.top_k = top_k, .first_slot = first_slot, .num_experts = num_experts, .slots = std::move(slots)};
  for (size_t i = 0; i < step.slots.size(); ++i) step.weights.push_back(static_cast<float>(i) + 0.5f);
  return step;
}

// Slots drawn from [lowest, highest].
Step RandomStep(int64_t rows, int64_t top_k, int64_t first_slot, int64_t num_experts, int lowest, int highest) {
  std::mt19937 random(static_cast<uint32_t>(rows * 31 + top_k));
  std::uniform_int_distribution<int32_t> slot(lowest, highest);
  std::vector<int32_t> slots(rows * top_k);
  for (int32_t& s : slots) s = slot(random);
  return MakeStep(top_k, first_slot, num_experts, std::move(slots));
}

// `bytes` is a copy of the memory at `base`.
template <typename T>
std::vector<T> Read(const std::vector<uint8_t>& bytes, const uint8_t* base, const T* from, int64_t count) {
  std::vector<T> values(count);
  if (count > 0)
    std::memcpy(values.data(), bytes.data() + (reinterpret_cast<const uint8_t*>(from) - base), count * sizeof(T));
  return values;
}

Lists Permute(const Step& step) {
  const int64_t num_pairs = static_cast<int64_t>(step.slots.size());
  constexpr int64_t kAnySize = 8;
  const size_t bytes =
      DivideExpertsScratch(num_pairs / step.top_k, step.top_k, kAnySize, kAnySize, step.num_experts, nullptr).bytes;
  const DeviceVector<int32_t> slots(step.slots);
  const DeviceVector<float> weights(step.weights);
  // What the last step left behind must not matter.
  DeviceVector<uint8_t> scratch(std::vector<uint8_t>(bytes, 0x5A));
  const ExpertPermutation permutation =
      DivideExpertsScratch(num_pairs / step.top_k, step.top_k, kAnySize, kAnySize, step.num_experts, scratch.data())
          .permutation;
  PermuteExperts({.top_k = step.top_k,
                  .first_slot = step.first_slot,
                  .slots = slots.data(),
                  .weights = weights.data(),
                  .permutation = permutation},
                 TestStream());
  const std::vector<uint8_t> host = scratch.ToHost();
  const auto read = [&](const auto* from, int64_t count) { return Read(host, scratch.data(), from, count); };
  Lists lists;
  lists.offsets = read(permutation.offsets, step.num_experts + 1);
  const int64_t num_entries = std::clamp<int64_t>(lists.offsets.back(), 0, num_pairs);
  lists.entry_row = read(permutation.entry_row, num_entries);
  lists.entry_weight = read(permutation.entry_weight, num_entries);
  lists.place = read(permutation.place, num_pairs);
  lists.active_experts = read(permutation.active_experts, permutation.max_active_experts());
  lists.tile_begin = read(permutation.tile_begin, step.num_experts + 1);
  lists.tile_expert = read(permutation.tile_expert, permutation.max_tiles());
  return lists;
}

Lists ExpectedLists(const Step& step) {
  Lists lists;
  lists.place.assign(step.slots.size(), -1);
  lists.offsets = {0};
  lists.tile_begin = {0};
  for (int64_t expert = 0; expert < step.num_experts; ++expert) {
    int64_t count = 0;
    for (size_t pair = 0; pair < step.slots.size(); ++pair) {
      if (step.slots[pair] != step.first_slot + expert) continue;
      lists.place[pair] = static_cast<int32_t>(lists.entry_row.size());
      lists.entry_row.push_back(static_cast<int32_t>(pair / step.top_k));
      lists.entry_weight.push_back(step.weights[pair]);
      if (count++ % kExpertTileRows == 0) lists.tile_expert.push_back(static_cast<int32_t>(expert));
    }
    if (count > 0) lists.active_experts.push_back(static_cast<int32_t>(expert));
    lists.offsets.push_back(static_cast<int32_t>(lists.entry_row.size()));
    lists.tile_begin.push_back(static_cast<int32_t>(lists.tile_expert.size()));
  }
  return lists;
}

void ExpectRight(const Step& step) {
  const Lists lists = Permute(step);
  Lists expected = ExpectedLists(step);
  ASSERT_LE(expected.active_experts.size(), lists.active_experts.size());
  ASSERT_LE(expected.tile_expert.size(), lists.tile_expert.size());
  expected.active_experts.resize(lists.active_experts.size(), -1);
  expected.tile_expert.resize(lists.tile_expert.size(), -1);
  EXPECT_EQ(lists.offsets, expected.offsets);
  EXPECT_EQ(lists.entry_row, expected.entry_row);
  EXPECT_EQ(lists.entry_weight, expected.entry_weight);
  EXPECT_EQ(lists.place, expected.place);
  EXPECT_EQ(lists.active_experts, expected.active_experts);
  EXPECT_EQ(lists.tile_begin, expected.tile_begin);
  EXPECT_EQ(lists.tile_expert, expected.tile_expert);
}

TEST(ExpertPermutation, IsTheDrawnExample) {
  const Lists lists = Permute(MakeStep(2, 0, 4, {4, 1, 1, -1}));
  EXPECT_THAT(lists.offsets, ElementsAre(0, 0, 2, 2, 2));
  EXPECT_THAT(lists.entry_row, ElementsAre(0, 1));
  EXPECT_THAT(lists.entry_weight, ElementsAre(1.5f, 2.5f));
  EXPECT_THAT(lists.place, ElementsAre(-1, 0, 1, -1));
  EXPECT_THAT(lists.active_experts, ElementsAre(1, -1, -1, -1));
  EXPECT_THAT(lists.tile_begin, ElementsAre(0, 0, 1, 1, 1));
  EXPECT_THAT(lists.tile_expert, ElementsAre(1, -1, -1, -1));
}

TEST(ExpertPermutation, KeepsOrderOfPairsWithinAnExpert) {
  ExpectRight(RandomStep(1, 2, 0, 8, 0, 7));
  ExpectRight(RandomStep(17, 2, 0, 8, 0, 7));
  ExpectRight(RandomStep(300, 3, 0, 5, 0, 4));
}

TEST(ExpertPermutation, IgnoresSlotsOfOtherRanks) {
  ExpectRight(RandomStep(130, 2, 4, 4, -1, 11));
  ExpectRight(MakeStep(2, 8, 3, {-1, 7, 11, -8, INT32_MIN, INT32_MAX}));
}

TEST(ExpertPermutation, MakesTwoEntriesOfASlotThatOccursTwiceInARow) {
  const Lists lists = Permute(MakeStep(3, 2, 2, {3, 3, 2, 3, -1, 3}));
  EXPECT_THAT(lists.offsets, ElementsAre(0, 1, 5));
  EXPECT_THAT(lists.entry_row, ElementsAre(0, 0, 0, 1, 1));
  EXPECT_THAT(lists.entry_weight, ElementsAre(2.5f, 0.5f, 1.5f, 3.5f, 5.5f));
  EXPECT_THAT(lists.place, ElementsAre(1, 2, 0, 3, -1, 4));
}

TEST(ExpertPermutation, DividesAnExpertIntoTiles) {
  ExpectRight(RandomStep(128, 1, 0, 3, 1, 1));
  ExpectRight(RandomStep(129, 1, 0, 3, 1, 1));
  ExpectRight(RandomStep(1000, 2, 0, 4, 0, 4));
}

TEST(ExpertPermutation, JoinsChunksOfALargeStep) {
  ExpectRight(RandomStep(4096, 2, 0, 8, 0, 7));   // just one chunk
  ExpectRight(RandomStep(4097, 2, 0, 8, -1, 9));  // two
  ExpectRight(RandomStep(3000, 8, 64, 64, 0, 127));
}

TEST(ExpertPermutation, TakesManyExperts) {
  ExpectRight(RandomStep(3, 10, 0, 512, 0, 511));
  ExpectRight(RandomStep(1100, 8, 512, 512, 0, 1023));
  ExpectRight(RandomStep(40, 4, 0, 31, 0, 31));
  ExpectRight(RandomStep(40, 4, 0, 32, 0, 32));
}

TEST(ExpertPermutation, TakesNoExperts) {
  ExpectRight(RandomStep(17, 2, 0, 0, -1, 7));
  ExpectRight(RandomStep(1100, 1, 0, 0, -1, 7));
}

// Around what one block with a thread per pair and a lane per expert can do, and the whole warps below.
TEST(ExpertPermutation, CrossesTheBordersOfFewPairsAndExperts) {
  for (const int64_t num_experts : {32, 33}) {
    for (const int64_t pairs : {31, 32, 33, 64, 65, 1023, 1024, 1025}) {
      SCOPED_TRACE(testing::Message() << pairs << " pairs, " << num_experts << " experts");
      const auto last = static_cast<int>(num_experts) + 4;
      ExpectRight(RandomStep(pairs, 1, 5, num_experts, -1, last + 5));  // all experts, and slots around them
      ExpectRight(RandomStep(pairs, 1, 5, num_experts, last, last));    // the last expert alone
    }
  }
}

}  // namespace
}  // namespace switchyard::cuda
