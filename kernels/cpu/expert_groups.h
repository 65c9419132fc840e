// The rows of a step ordered by local expert: a counting sort of (row, k) pairs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

// Reused from step to step; its vectors only grow.
//
//   slots [[4, 1], [1, -1]], first_slot 0, 4 experts, top_k 2:
//   begin [0, 0, 2, 2, 2], source [0, 1] (rows 0 and 1 for expert 1), place [-1, 0, 1, -1]
struct ExpertGroups {
  std::vector<int32_t> begin;   // [num_experts + 1], first grouped row of each expert
  std::vector<int32_t> source;  // [grouped rows], the row it is a copy of; ascending within an expert
  std::vector<int32_t> place;   // [n * top_k], the grouped row of the pair; -1: not local

  int64_t num_rows() const { return begin.back(); }

  // slots [n, top_k], see ExpertArgs.
  void Assign(std::span<const int32_t> slots, int64_t top_k, int64_t first_slot, int64_t num_experts);
};

}  // namespace switchyard
