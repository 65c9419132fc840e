#include "parallel/exchange_plan.h"

#include <numeric>
#include <utility>

#include "kernels/check.h"

namespace switchyard {
namespace {

// Calls visit(rank) once for each rank that owns any of a token's slots. `last_token` remembers whom it was called for.
template <typename Visit>
void ForEachRank(std::span<const int32_t> token_slots, int64_t token, const ExpertPlacement& placement,
                 std::vector<int64_t>& last_token, Visit visit) {
  for (const int32_t slot : token_slots) {
    if (slot < 0) continue;
    DCHECK(slot < placement.num_slots());
    const int rank = placement.RankOfSlot(slot);
    if (last_token[rank] == token) continue;
    last_token[rank] = token;
    visit(rank);
  }
}

}  // namespace

ExchangePlan ExchangePlan::Build(std::span<const int32_t> slots, int64_t top_k, const ExpertPlacement& placement,
                                 ExchangePlan recycled) {
  CHECK_GE(top_k, 1);
  CHECK_EQ(static_cast<int64_t>(slots.size()) % top_k, 0);
  const int64_t num_tokens = static_cast<int64_t>(slots.size()) / top_k;
  const int num_ranks = placement.num_ranks();
  ExchangePlan plan = std::move(recycled);
  const auto slots_of = [&](int64_t token) { return slots.subspan(token * top_k, top_k); };

  plan.send_rows_.assign(num_ranks, 0);
  plan.sum_begin_.assign(num_tokens + 1, 0);
  plan.last_token_.assign(num_ranks, -1);
  for (int64_t token = 0; token < num_tokens; ++token) {
    plan.sum_begin_[token + 1] = plan.sum_begin_[token];
    ForEachRank(slots_of(token), token, placement, plan.last_token_, [&](int rank) {
      ++plan.send_rows_[rank];
      ++plan.sum_begin_[token + 1];
    });
  }

  plan.send_index_.resize(plan.sum_begin_.back());
  plan.next_row_.resize(num_ranks);
  std::exclusive_scan(plan.send_rows_.begin(), plan.send_rows_.end(), plan.next_row_.begin(), int64_t{0});
  plan.last_token_.assign(num_ranks, -1);
  for (int64_t token = 0; token < num_tokens; ++token) {
    ForEachRank(slots_of(token), token, placement, plan.last_token_,
                [&](int rank) { plan.send_index_[plan.next_row_[rank]++] = static_cast<int32_t>(token); });
  }

  // Sent rows are in rank order, so walking them fills every token's list in rank order too.
  plan.sum_index_.resize(plan.send_index_.size());
  plan.next_row_.assign(plan.sum_begin_.begin(), plan.sum_begin_.end());
  for (size_t row = 0; row < plan.send_index_.size(); ++row) {
    plan.sum_index_[plan.next_row_[plan.send_index_[row]]++] = static_cast<int32_t>(row);
  }
  return plan;
}

}  // namespace switchyard
