// RunExperts (experts.h) with quantised weights: the same permutation, products and sum, dequantised in the products.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/experts.h"
#include "kernels/cuda/quantized_gemm.h"
#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

struct RunQuantizedExpertsArgs {
  DType dtype = DType::kBFloat16;  // of rows and out
  int64_t num_rows = 0;
  int64_t top_k = 0;
  int64_t num_local_experts = 0;  // may be 0: out becomes 0
  int64_t first_slot = 0;         // slot first_slot + e is local expert e; all others are ignored

  const void* rows = nullptr;      // [num_rows, hidden]
  const int32_t* slots = nullptr;  // [num_rows, top_k]; -1: none; one slot may occur twice in a row
  const float* weights = nullptr;  // [num_rows, top_k]
  QuantizedMatrix gate_up;         // [2 * intermediate, hidden]: w1 rows, then w3 rows; of every expert
  QuantizedMatrix down;            // [hidden, intermediate]
  ExpertTurns turns;               // null: all experts are there

  int num_multiprocessors = 1;
  std::optional<QuantizedForm> form;  // none: ChooseQuantizedForm
  void* scratch = nullptr;            // RunExpertsScratchBytes
  void* out = nullptr;                // [num_rows, hidden], every row written
};

// Where gate_up is reordered the entries' rows are brought to its order first; where down is, the first product writes
// to that order.
void RunQuantizedExperts(const RunQuantizedExpertsArgs& args, Stream stream);

struct QuantizedLinearArgs {
  DType dtype = DType::kBFloat16;
  DType y_dtype = DType::kBFloat16;
  int64_t num_rows = 0;
  QuantizedMatrix weight;
  const void* x = nullptr;  // [num_rows, weight.columns]
  void* y = nullptr;        // [num_rows, weight.rows]
  int num_multiprocessors = 1;
  std::optional<QuantizedForm> form;
  // For reordered columns, at least one row of x; rows are multiplied in as many turns as it takes.
  void* scratch = nullptr;
  size_t scratch_bytes = 0;
};
// y = x W^T.
void QuantizedLinear(const QuantizedLinearArgs& args, Stream stream);

}  // namespace switchyard::cuda
