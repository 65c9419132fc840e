// The local experts of one layer over rows: permutation, two grouped matrix products, sum.
// Reference: kernels/cpu/reference_experts.cc.
//
//   out[r] = sum over k with slot(r, k) local of weight(r, k) * w2(silu(w1 x_r) * w3 x_r)        0 where none is local
//
//   1. permutation (expert_permutation.cu): from the slots, on the device, the list of (row, k) of every expert and its
//      offsets; nothing is read back by the host.
//   2. gate-up: act[j] = silu(w1 x) * w3 x for every listed row j, x gathered through the list, SiLU in the epilogue.
//   3. down: y[j] = weight[j] * w2 act[j], the router's weight in the epilogue.
//   4. sum: out[r] = sum of the y of row r, in float32 in order of k.
// Steps 2 and 3 have two forms: `streaming` for few rows per expert (weights pass once from memory through registers
// into mma.sync; bound: 3 * hidden * intermediate * 2 bytes per expert that has rows) and `tiled` for many (cp.async
// pipelines, ldmatrix, mma.sync; bound: 6 * hidden * intermediate operations per listed row).
// hidden and intermediate are multiples of 8; num_local_experts is at most 512. act and y are of the activations' type.
// The result does not depend on the order in which blocks run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

// Of experts of which only some are on the device at a time. Called once the permutation is queued, with its offsets
// [num_local_experts + 1] (expert_permutation.h). Calls `multiply` with ExpertPermutation::expert_place, each time of
// other experts, until all have had their turn.
using ExpertTurns = std::function<void(const int32_t* offsets, const std::function<void(const int32_t*)>& multiply)>;

enum class ExpertForm { kStreaming, kTiled };

// The form that RunExperts takes: a function of these sizes alone, so that a recorded step replays what it ran.
ExpertForm ChooseExpertForm(int64_t num_rows, int64_t top_k, int64_t num_local_experts);

struct RunExpertsArgs {
  DType dtype = DType::kBFloat16;  // of rows, weights of the experts, and out
  int64_t num_rows = 0;
  int64_t top_k = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_local_experts = 0;  // may be 0: out becomes 0
  int64_t first_slot = 0;         // slot first_slot + e is local expert e; all others are ignored

  const void* rows = nullptr;      // [num_rows, hidden]
  const int32_t* slots = nullptr;  // [num_rows, top_k]; -1: none; one slot may occur twice in a row
  const float* weights = nullptr;  // [num_rows, top_k]
  const void* gate_up = nullptr;   // [experts or places, 2 * intermediate, hidden]: w1 rows, then w3 rows
  const void* down = nullptr;      // [experts or places, hidden, intermediate]
  ExpertTurns turns;               // null: all experts are there

  int num_multiprocessors = 1;
  std::optional<ExpertForm> form;  // none: ChooseExpertForm
  void* scratch = nullptr;         // RunExpertsScratchBytes
  void* out = nullptr;             // [num_rows, hidden], every row written
};

size_t RunExpertsScratchBytes(int64_t max_rows, int64_t top_k, int64_t hidden_size, int64_t intermediate_size,
                              int64_t num_local_experts);

void RunExperts(const RunExpertsArgs& args, Stream stream);

}  // namespace switchyard::cuda
