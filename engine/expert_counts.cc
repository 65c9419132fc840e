#include "engine/expert_counts.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {
namespace {

struct Counts {
  std::vector<int> of_rank;
  int64_t least_room = 0;  // that a rank has left
};

// One expert after the other goes where there is the most room, the first of equals, but no more than `cap` to a rank.
// As experts are all alike, no other counts within the cap leave the tightest rank more.
Counts Distribute(const ExpertRoom& room, int cap) {
  std::vector<int64_t> left = room.bytes;
  std::vector<int> counts(left.size());
  for (int expert = 0; expert < room.num_experts; ++expert) {
    size_t best = left.size();
    for (size_t rank = 0; rank < left.size(); ++rank) {
      if (counts[rank] < cap && (best == left.size() || left[rank] > left[best])) best = rank;
    }
    CHECK(best < left.size());
    left[best] -= room.expert_bytes;
    ++counts[best];
  }
  return {counts, *std::min_element(left.begin(), left.end())};
}

}  // namespace

std::vector<int> ChooseExpertCounts(const ExpertRoom& room) {
  const int num_ranks = static_cast<int>(room.bytes.size());
  CHECK_GE(num_ranks, 1);
  CHECK_GE(room.page_bytes, 1);
  int64_t wanted = Distribute(room, room.num_experts).least_room;
  if (wanted > 0) wanted = std::min(wanted / room.page_bytes, room.max_pages) * room.page_bytes;
  // The smallest cap that is enough; more room is left under a larger one.
  int low = (room.num_experts + num_ranks - 1) / num_ranks;
  int high = room.num_experts;
  while (low < high) {
    const int cap = low + (high - low) / 2;
    if (Distribute(room, cap).least_room >= wanted) {
      high = cap;
    } else {
      low = cap + 1;
    }
  }
  return Distribute(room, low).of_rank;
}

}  // namespace switchyard
