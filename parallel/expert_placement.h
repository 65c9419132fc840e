// Which rank holds which expert.
//
// A slot is one copy of an expert at one place. Slots are numbered consecutively by rank, so rank r owns slots
// [first_slot(r), first_slot(r) + num_slots(r)) and local expert e of rank r is slot first_slot(r) + e. Without
// duplicated experts and with contiguous placement, slot i is expert i. Immutable.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard {

class ExpertPlacement {
 public:
  // Experts 0..num_experts-1 in contiguous runs whose lengths differ by one at most (the first ranks get the longer
  // ones); ranks beyond num_experts hold none. num_experts >= 1, num_ranks >= 1.
  static ExpertPlacement Contiguous(int num_experts, int num_ranks);
  // As above, with runs of the given lengths: num_experts[r] >= 0 on rank r, at least one in all.
  static ExpertPlacement ContiguousRuns(std::span<const int> num_experts);
  // experts_of_rank[r] lists the experts of rank r in local order; an expert may be on several ranks, and on one rank
  // at most once. INVALID_ARGUMENT names an expert that is missing, out of range or listed twice on a rank.
  static absl::StatusOr<ExpertPlacement> FromLists(int num_experts, std::vector<std::vector<int>> experts_of_rank);

  int num_experts() const { return static_cast<int>(slots_of_expert_.size()); }
  int num_ranks() const { return static_cast<int>(first_slot_.size()) - 1; }
  int num_slots() const { return first_slot_.back(); }
  int first_slot(int rank) const { return first_slot_[rank]; }
  int num_slots(int rank) const { return first_slot_[rank + 1] - first_slot_[rank]; }
  // Experts of a rank in local order.
  std::span<const int> ExpertsOf(int rank) const;
  int RankOfSlot(int slot) const { return rank_of_slot_[slot]; }
  int ExpertOfSlot(int slot) const { return expert_of_slot_[slot]; }
  // The slot that serves `expert` for the token in row `row`; copies of an expert take turns, alike on every rank.
  int SlotFor(int expert, int64_t row) const {
    const auto& slots = slots_of_expert_[expert];
    return slots[slots.size() == 1 ? 0 : row % slots.size()];
  }
  // Whether slot i is expert i throughout, so that a router's choice needs no translation.
  bool SlotsAreExperts() const;
  std::string ToString() const;  // "rank 0: experts 0-3; rank 1: experts 4-7"

 private:
  ExpertPlacement() = default;

  std::vector<int> first_slot_;  // [num_ranks + 1]
  std::vector<int> rank_of_slot_;
  std::vector<int> expert_of_slot_;
  std::vector<std::vector<int>> slots_of_expert_;
};

}  // namespace switchyard
