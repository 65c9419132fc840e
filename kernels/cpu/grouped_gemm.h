// The experts of one layer on the fast CPU path: group, multiply, gate, multiply, sum.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Keeps its scratch from call to call. One caller at a time.
class GroupedExperts {
 public:
  // Both outlive this. bf16: multiplies for experts that have rows enough; null: float32 throughout.
  GroupedExperts(ThreadPool& pool, Bf16Gemm* bf16) : pool_(pool), bf16_(bf16) {}

  // See ExpertArgs. Work is divided over experts and output features together, so that a few rows on many experts
  // keep all threads busy. A row's sum runs over k in order, whatever the threads do.
  void Run(const PackedExpertWeights& experts, const ExpertArgs& args);

 private:
  // The rows of one matrix product, expert by expert, in the form that each expert's kernel takes.
  struct Operand {
    float* packed = nullptr;      // experts of float32_, as MultiplyGroups takes them, at their grouped rows
    uint16_t* rounded = nullptr;  // experts of bf16_experts_, as Bf16Gemm takes them, at their rounded blocks
  };

  // Divides the active experts among the two kernels.
  void Assign(const PackedExpertWeights& experts);
  // source(row): a grouped row, float [columns].
  template <typename Source>
  Operand Pack(int64_t columns, Source source, Scratch<float>& packed, Scratch<uint16_t>& rounded);
  // y[grouped rows, out] = operand times weight_of(expert)^T, expert by expert.
  template <typename WeightOf>
  void Multiply(const Operand& operand, WeightOf weight_of, float* y);
  int64_t NumRows(int32_t expert) const { return groups_.begin[expert + 1] - groups_.begin[expert]; }

  ThreadPool& pool_;
  Bf16Gemm* const bf16_;
  ExpertGroups groups_;
  std::vector<int32_t> float32_experts_;  // those that have rows, by kernel
  std::vector<int32_t> bf16_experts_;
  std::vector<int32_t> tile_begin_;   // [float32_experts + 1], first tile of each
  std::vector<int32_t> block_begin_;  // [bf16_experts + 1], first block of each
  std::vector<Bf16Gemm::Product> products_;
  Scratch<float> packed_rows_;
  Scratch<float> gate_up_;
  Scratch<float> packed_hidden_;
  Scratch<uint16_t> rounded_rows_;
  Scratch<uint16_t> rounded_hidden_;
  Scratch<float> down_;
};

}  // namespace switchyard
