#include "engine/expert_counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "parallel/expert_placement.h"

namespace switchyard {
namespace {

constexpr int64_t kUnlimited = int64_t{1} << 40;

ExpertRoom Room(int num_experts, std::vector<int64_t> bytes, int64_t expert_bytes = 3) {
  return {.num_experts = num_experts,
          .bytes = std::move(bytes),
          .expert_bytes = expert_bytes,
          .page_bytes = 1,
          .max_pages = kUnlimited};
}

int64_t LeastPages(const ExpertRoom& room, const std::vector<int>& counts) {
  int64_t least = kUnlimited;
  for (size_t rank = 0; rank < counts.size(); ++rank) {
    const int64_t left = room.bytes[rank] - counts[rank] * room.expert_bytes;
    least = std::min(least, left < 0 ? left : std::min(left / room.page_bytes, room.max_pages));
  }
  return least;
}

// All ways to divide `experts` among the ranks from `rank` on.
void ForEachDivision(int experts, size_t rank, std::vector<int>& counts, const std::function<void()>& body) {
  if (rank + 1 == counts.size()) {
    counts[rank] = experts;
    body();
    return;
  }
  for (counts[rank] = 0; counts[rank] <= experts; ++counts[rank]) {
    ForEachDivision(experts - counts[rank], rank + 1, counts, body);
  }
}

TEST(ChooseExpertCounts, GivesTheCardWithMoreRoomMoreExperts) {
  EXPECT_EQ(ChooseExpertCounts(Room(8, {30, 20})), (std::vector<int>{6, 2}));
  EXPECT_EQ(ChooseExpertCounts(Room(8, {20, 30})), (std::vector<int>{2, 6}));
  EXPECT_EQ(ChooseExpertCounts(Room(8, {24, 0})), (std::vector<int>{8, 0}));
}

TEST(ChooseExpertCounts, DividesAmongEqualCardsAsWithoutAnyRoomInMind) {
  for (int experts = 1; experts <= 20; ++experts) {
    for (int ranks = 1; ranks <= 7; ++ranks) {
      const ExpertPlacement even = ExpertPlacement::Contiguous(experts, ranks);
      for (const int64_t room : {int64_t{1000}, int64_t{2}, int64_t{-50}}) {
        const std::vector<int> counts = ChooseExpertCounts(Room(experts, std::vector<int64_t>(ranks, room)));
        for (int rank = 0; rank < ranks; ++rank)
          EXPECT_EQ(counts[rank], even.num_slots(rank)) << experts << " " << ranks;
      }
    }
  }
}

TEST(ChooseExpertCounts, StaysEvenWhereMorePagesAreOfNoUse) {
  ExpertRoom room = Room(8, {100, 40});
  EXPECT_EQ(ChooseExpertCounts(room), (std::vector<int>{8, 0}));
  room.max_pages = 28;  // what 4 and 4 leave
  EXPECT_EQ(ChooseExpertCounts(room), (std::vector<int>{4, 4}));
  room.max_pages = 29;
  EXPECT_EQ(ChooseExpertCounts(room), (std::vector<int>{5, 3}));
  // Parts of a page are of no use either.
  room.max_pages = kUnlimited;
  room.page_bytes = 28;
  EXPECT_EQ(ChooseExpertCounts(room), (std::vector<int>{4, 4}));
}

TEST(ChooseExpertCounts, IsSparingWithTheTightestRankWhereNothingFits) {
  EXPECT_EQ(ChooseExpertCounts(Room(8, {10, 0})), (std::vector<int>{6, 2}));
}

// No division leaves more pages, and none that leaves as many has a smaller largest count.
TEST(ChooseExpertCounts, NoDivisionIsBetter) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const size_t ranks = 1 + random() % 4;
    ExpertRoom room = Room(static_cast<int>(1 + random() % 9), {}, static_cast<int64_t>(1 + random() % 12));
    room.page_bytes = static_cast<int64_t>(1 + random() % 5);
    if (random() % 2 == 0) room.max_pages = static_cast<int64_t>(random() % 20);
    for (size_t rank = 0; rank < ranks; ++rank) room.bytes.push_back(static_cast<int64_t>(random() % 120) - 10);
    const std::vector<int> chosen = ChooseExpertCounts(room);
    ASSERT_EQ(std::accumulate(chosen.begin(), chosen.end(), 0), room.num_experts);
    std::vector<int> counts(ranks);
    ForEachDivision(room.num_experts, 0, counts, [&] {
      const int64_t pages = LeastPages(room, counts);
      ASSERT_LE(pages, LeastPages(room, chosen));
      if (pages == LeastPages(room, chosen)) {
        ASSERT_GE(*std::max_element(counts.begin(), counts.end()), *std::max_element(chosen.begin(), chosen.end()));
      }
    });
  }
}

}  // namespace
}  // namespace switchyard
