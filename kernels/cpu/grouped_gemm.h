// The experts of one layer on the fast CPU path: group, multiply, gate, multiply, sum.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_experts.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/row_products.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Keeps its scratch from call to call. One caller at a time.
class GroupedExperts {
 public:
  // Both outlive this.
  GroupedExperts(ThreadPool& pool, RowProducts& products) : pool_(pool), products_(products) {}

  // See ExpertArgs. Work is divided over experts and output features together, so that a few rows on many experts
  // keep all threads busy. A row's sum runs over k in order, whatever the threads do.
  void Run(const CpuExperts& experts, const ExpertArgs& args);

 private:
  ThreadPool& pool_;
  RowProducts& products_;
  ExpertGroups groups_;
  std::vector<int> needed_;                   // the experts that have rows
  std::vector<RowProduct> gate_up_products_;  // of those that are there
  std::vector<RowProduct> down_products_;
  Scratch<float> gate_up_;
  Scratch<float> down_;
};

}  // namespace switchyard
