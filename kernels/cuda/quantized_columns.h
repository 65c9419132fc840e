// What the kernels around quantised products do to single columns. Bound: memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/quantized_matrix.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

// Brings x to the order of the stored columns of reordered matrices: y[e][column_place[j]] = x[row(e)][j].
struct ReorderColumnsArgs {
  DType dtype = DType::kBFloat16;
  int64_t num_entries = 0;           // at most, where offsets is there
  int64_t columns = 0;               // a multiple of 8
  const void* x = nullptr;           // [.., columns]
  const int32_t* x_row = nullptr;    // [num_entries]; null: the entry
  const int32_t* offsets = nullptr;  // [num_experts + 1], first entry of each expert; null: one matrix
  int64_t num_experts = 1;
  const int32_t* expert_place = nullptr;  // ExpertPermutation::expert_place
  const int32_t* column_place = nullptr;  // [columns] of the first expert
  int64_t place_stride = 0;               // from one expert to the next, elements
  void* y = nullptr;                      // [num_entries, columns]
};
void ReorderColumns(const ReorderColumnsArgs& args, Stream stream);

// out float32 [tokens, columns], out[t] = row ids[t] of `table`, in the order of the input features.
void EmbedQuantized(const QuantizedMatrix& table, const int32_t* ids, int64_t num_tokens, float* out, Stream stream);

// Random codes for `num_matrices` matrices one after the other, and scales such that weights have about the deviation
// and a mean of 0: codes are uniform (of integers the lowest becomes the zero point, which leaves as many of either
// sign; groups of NF4 change their sign in turn). Zero points are the format's default; the column order is left alone.
// The same in every run for a seed.
void FillRandomQuantized(const QuantizedMatrix& first, int64_t num_matrices, uint64_t seed, float deviation,
                         Stream stream);

}  // namespace switchyard::cuda
