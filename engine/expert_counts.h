// How many experts each rank holds where ranks have unequal memory.
#pragma once

#include <cstdint>
#include <vector>

namespace switchyard {

struct ExpertRoom {
  int num_experts = 0;
  std::vector<int64_t> bytes;  // [ranks]: what a rank has for experts and KV pages; less than none is possible
  int64_t expert_bytes = 0;    // of one expert, in all layers
  int64_t page_bytes = 0;      // of one KV page, in all layers; every rank has as many pages
  int64_t max_pages = 0;       // more would never be used
};

// [ranks], which sum to num_experts: the most even counts among those that leave the rank with the least room the most
// KV pages. Ranks with equal room have the counts of ExpertPlacement::Contiguous.
//
//   8 experts of 3, room 30 and 20, pages of 1:  5 and 3 leave 15 and 11 pages; 4 and 4 leave 18 and 8; 6 and 2 leave
//   12 and 14, which is a page more for both than 5 and 3:  6 and 2
std::vector<int> ChooseExpertCounts(const ExpertRoom& room);

}  // namespace switchyard
