#include "parallel/expert_placement.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace switchyard {
namespace {

TEST(ExpertPlacement, ContiguousRunsDifferInLengthByOneAtMost) {
  for (int experts = 1; experts <= 40; ++experts) {
    for (int ranks = 1; ranks <= 12; ++ranks) {
      const ExpertPlacement placement = ExpertPlacement::Contiguous(experts, ranks);
      ASSERT_EQ(placement.num_experts(), experts);
      ASSERT_EQ(placement.num_ranks(), ranks);
      ASSERT_EQ(placement.num_slots(), experts);
      ASSERT_TRUE(placement.SlotsAreExperts());
      for (int rank = 0; rank < ranks; ++rank) {
        ASSERT_EQ(placement.num_slots(rank), experts / ranks + (rank < experts % ranks ? 1 : 0));
      }
    }
  }
}

TEST(ExpertPlacement, GivesTheLongerRunsToTheFirstRanks) {
  EXPECT_EQ(ExpertPlacement::Contiguous(8, 3).ToString(),
            "rank 0: experts 0-2; rank 1: experts 3-5; rank 2: experts 6-7");
}

TEST(ExpertPlacement, TakesRunsOfGivenLengths) {
  const std::vector<int> lengths = {5, 0, 3};
  const ExpertPlacement placement = ExpertPlacement::ContiguousRuns(lengths);
  EXPECT_EQ(placement.ToString(), "rank 0: experts 0-4; rank 1: no experts; rank 2: experts 5-7");
  EXPECT_EQ(placement.num_experts(), 8);
  EXPECT_EQ(placement.first_slot(2), 5);
  EXPECT_TRUE(placement.SlotsAreExperts());
}

TEST(ExpertPlacementDeathTest, RunsOfNothingAreAProgrammersError) {
  const std::vector<int> negative = {9, -1};
  EXPECT_DEATH(ExpertPlacement::ContiguousRuns(negative), "length");
  const std::vector<int> none = {0, 0};
  EXPECT_DEATH(ExpertPlacement::ContiguousRuns(none), "next");
}

TEST(ExpertPlacement, LeavesRanksBeyondTheExpertsEmpty) {
  const ExpertPlacement placement = ExpertPlacement::Contiguous(2, 4);
  EXPECT_EQ(placement.ToString(), "rank 0: expert 0; rank 1: expert 1; rank 2: no experts; rank 3: no experts");
  EXPECT_TRUE(placement.ExpertsOf(3).empty());
  EXPECT_EQ(placement.first_slot(3), 2);
}

TEST(ExpertPlacement, NumbersSlotsByRankAndLocalOrder) {
  const auto placement = ExpertPlacement::FromLists(3, {{2, 0}, {}, {1, 2}});
  ASSERT_TRUE(placement.ok());
  EXPECT_EQ(placement->num_slots(), 4);
  EXPECT_EQ(placement->first_slot(2), 2);
  const int experts[] = {2, 0, 1, 2};
  const int ranks[] = {0, 0, 2, 2};
  for (int slot = 0; slot < 4; ++slot) {
    EXPECT_EQ(placement->ExpertOfSlot(slot), experts[slot]);
    EXPECT_EQ(placement->RankOfSlot(slot), ranks[slot]);
  }
  EXPECT_FALSE(placement->SlotsAreExperts());
  EXPECT_EQ(placement->ToString(), "rank 0: experts 2, 0; rank 1: no experts; rank 2: experts 1-2");
}

TEST(ExpertPlacement, TakesTurnsAmongTheCopiesOfAnExpert) {
  const auto placement = ExpertPlacement::FromLists(2, {{0, 1}, {0}, {0}});
  ASSERT_TRUE(placement.ok());
  EXPECT_EQ(placement->SlotFor(0, 0), 0);
  EXPECT_EQ(placement->SlotFor(0, 1), 2);
  EXPECT_EQ(placement->SlotFor(0, 2), 3);
  EXPECT_EQ(placement->SlotFor(0, 3), 0);
  EXPECT_EQ(placement->SlotFor(1, 5), 1);
}

TEST(ExpertPlacement, PermutedExpertsAreNotTheirSlots) {
  const auto placement = ExpertPlacement::FromLists(2, {{1}, {0}});
  ASSERT_TRUE(placement.ok());
  EXPECT_FALSE(placement->SlotsAreExperts());
  EXPECT_EQ(placement->SlotFor(0, 7), 1);
}

void ExpectRefused(int num_experts, std::vector<std::vector<int>> lists, const std::string& words) {
  const auto placement = ExpertPlacement::FromLists(num_experts, std::move(lists));
  EXPECT_EQ(placement.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(placement.status().message().find(words), std::string::npos) << placement.status();
}

TEST(ExpertPlacement, NamesTheExpertThatIsWrong) {
  ExpectRefused(3, {{0}, {2}}, "expert 1 is on no rank");
  ExpectRefused(2, {{0}, {1, 2}}, "rank 1 lists expert 2");
  ExpectRefused(2, {{0, -1}, {1}}, "rank 0 lists expert -1");
  ExpectRefused(2, {{0}, {1, 0, 1}}, "rank 1 lists expert 1 twice");
  ExpectRefused(0, {{}}, "0 experts");
  ExpectRefused(1, {}, "no ranks");
}

}  // namespace
}  // namespace switchyard
