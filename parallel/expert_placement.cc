#include "parallel/expert_placement.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"

namespace switchyard {

ExpertPlacement ExpertPlacement::Contiguous(int num_experts, int num_ranks) {
  CHECK_GE(num_experts, 1);
  CHECK_GE(num_ranks, 1);
  std::vector<int> lengths(num_ranks);
  for (int rank = 0; rank < num_ranks; ++rank) {
    lengths[rank] = num_experts / num_ranks + (rank < num_experts % num_ranks ? 1 : 0);
  }
  return ContiguousRuns(lengths);
}

ExpertPlacement ExpertPlacement::ContiguousRuns(std::span<const int> num_experts) {
  std::vector<std::vector<int>> experts_of_rank;
  int next = 0;
  for (const int length : num_experts) {
    CHECK_GE(length, 0);
    std::vector<int>& experts = experts_of_rank.emplace_back(length);
    std::iota(experts.begin(), experts.end(), next);
    next += length;
  }
  CHECK_GE(next, 1);
  return *FromLists(next, std::move(experts_of_rank));
}

absl::StatusOr<ExpertPlacement> ExpertPlacement::FromLists(int num_experts,
                                                           std::vector<std::vector<int>> experts_of_rank) {
  if (num_experts < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("expert placement: ", num_experts, " experts; at least 1 is needed"));
  }
  if (experts_of_rank.empty()) return absl::InvalidArgumentError("expert placement: no ranks; at least 1 is needed");

  ExpertPlacement placement;
  placement.slots_of_expert_.resize(num_experts);
  placement.first_slot_.push_back(0);
  for (size_t rank = 0; rank < experts_of_rank.size(); ++rank) {
    for (const int expert : experts_of_rank[rank]) {
      if (expert < 0 || expert >= num_experts) {
        return absl::InvalidArgumentError(absl::StrCat("expert placement: rank ", rank, " lists expert ", expert,
                                                       "; experts are 0 to ", num_experts - 1));
      }
      auto& slots = placement.slots_of_expert_[expert];
      if (!slots.empty() && slots.back() >= placement.first_slot_.back()) {
        return absl::InvalidArgumentError(absl::StrCat("expert placement: rank ", rank, " lists expert ", expert,
                                                       " twice; once per rank is the most"));
      }
      slots.push_back(static_cast<int>(placement.expert_of_slot_.size()));
      placement.expert_of_slot_.push_back(expert);
      placement.rank_of_slot_.push_back(static_cast<int>(rank));
    }
    placement.first_slot_.push_back(static_cast<int>(placement.expert_of_slot_.size()));
  }
  for (int expert = 0; expert < num_experts; ++expert) {
    if (placement.slots_of_expert_[expert].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("expert placement: expert ", expert,
                                                     " is on no rank; each of the ", num_experts,
                                                     " experts must be listed at least once"));
    }
  }
  return placement;
}

std::span<const int> ExpertPlacement::ExpertsOf(int rank) const {
  return std::span<const int>(expert_of_slot_).subspan(first_slot(rank), num_slots(rank));
}

bool ExpertPlacement::SlotsAreExperts() const {
  if (num_slots() != num_experts()) return false;
  for (int slot = 0; slot < num_slots(); ++slot) {
    if (expert_of_slot_[slot] != slot) return false;
  }
  return true;
}

std::string ExpertPlacement::ToString() const {
  std::string text;
  for (int rank = 0; rank < num_ranks(); ++rank) {
    absl::StrAppend(&text, rank == 0 ? "" : "; ", "rank ", rank, ": ");
    const std::span<const int> experts = ExpertsOf(rank);
    if (experts.empty()) absl::StrAppend(&text, "no experts");
    for (size_t begin = 0; begin < experts.size();) {
      size_t end = begin + 1;
      while (end < experts.size() && experts[end] == experts[end - 1] + 1) ++end;
      absl::StrAppend(&text, begin == 0 ? (experts.size() == 1 ? "expert " : "experts ") : ", ", experts[begin]);
      if (end - begin > 1) absl::StrAppend(&text, "-", experts[end - 1]);
      begin = end;
    }
  }
  return text;
}

}  // namespace switchyard
