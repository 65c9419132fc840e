#include "kernels/cpu/expert_groups.h"

namespace switchyard {

void ExpertGroups::Assign(std::span<const int32_t> slots, int64_t top_k, int64_t first_slot, int64_t num_experts) {
  const auto is_local = [&](int32_t slot) { return slot >= first_slot && slot < first_slot + num_experts; };
  begin.assign(num_experts + 1, 0);
  for (const int32_t slot : slots) {
    if (is_local(slot)) ++begin[slot - first_slot + 1];
  }
  for (int64_t e = 0; e < num_experts; ++e) begin[e + 1] += begin[e];
  source.resize(num_rows());
  place.resize(slots.size());
  // `begin` counts up while the rows are placed and is moved back by one expert afterwards.
  for (size_t i = 0; i < slots.size(); ++i) {
    place[i] = -1;
    if (!is_local(slots[i])) continue;
    place[i] = begin[slots[i] - first_slot]++;
    source[place[i]] = static_cast<int32_t>(i / top_k);
  }
  for (int64_t e = num_experts; e > 0; --e) begin[e] = begin[e - 1];
  begin[0] = 0;
}

}  // namespace switchyard
