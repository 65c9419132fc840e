// The experts of one layer on the fast CPU path: group, multiply, gate, multiply, sum.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Keeps its scratch from call to call. One caller at a time.
class GroupedExperts {
 public:
  // `pool` outlives this.
  explicit GroupedExperts(ThreadPool& pool) : pool_(pool) {}

  // See ExpertArgs. Work is divided over experts and output features together, so that a few rows on many experts
  // keep all threads busy. A row's sum runs over k in order, whatever the threads do.
  void Run(const PackedExpertWeights& experts, const ExpertArgs& args);

 private:
  // y[grouped rows, out] = packed grouped rows times weight(expert)^T, expert by expert.
  template <typename WeightOf>
  void Multiply(const float* packed, WeightOf weight_of, float* y);
  template <typename Source>
  void Pack(int64_t columns, Source source, float* packed);

  ThreadPool& pool_;
  ExpertGroups groups_;
  std::vector<int32_t> active_;      // experts that have rows
  std::vector<int32_t> tile_begin_;  // [active + 1], first tile of each active expert
  Scratch<float> packed_rows_;
  Scratch<float> gate_up_;
  Scratch<float> packed_hidden_;
  Scratch<float> down_;
};

}  // namespace switchyard
