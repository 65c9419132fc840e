// Products with quantised weights that are dequantised in registers, of experts and of dense layers, in two forms.
//
//   y[e] = w(e) * (W x[row(e)])                                   entries e of a matrix W; w(e) = 1 where no weights
//   y[e] = silu(W1 x[row(e)]) * (W3 x[row(e)])                    gate-up: W1 is the first half of the rows, W3 the
//   rest
//
// Partial sums of kScaleColumns products are in units of their group's scale and are scaled in float32.
#pragma once

#include <cstdint>

#include "kernels/cuda/expert_permutation.h"
#include "kernels/cuda/quantized_matrix.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

struct QuantizedGemmArgs {
  DType dtype = DType::kBFloat16;    // of x; kBFloat16 or kFloat16
  DType y_dtype = DType::kBFloat16;  // the same, or kFloat32 (not for gate-up)
  bool is_gate_up = false;
  // [out_features, in_features] or gate-up [2 * out_features, in_features]; of every expert. Not reordered any more: x
  // is in the order of the stored columns.
  QuantizedMatrix weights;
  const void* x = nullptr;         // [.., in_features], in_features = weights.columns, a multiple of 8
  const int32_t* x_row = nullptr;  // [entries], the row of x that an entry multiplies; null: its own
  const float* weight = nullptr;   // [entries], w(e); null: 1
  void* y = nullptr;               // [entries, out_features]
  // Column of y that feature f of expert e goes to: y_place[e * y_place_stride + f]; null: f.
  const int32_t* y_place = nullptr;
  int64_t y_place_stride = 0;  // elements
  // The entries of each expert; offsets null: one matrix, entries 0 to num_pairs - 1, and no other list is there.
  // num_pairs and num_experts are at least 1.
  ExpertPermutation permutation;
  // The kernel right ahead in the stream wrote none of its lists: they are complete when it starts (dependency.cuh).
  bool lists_are_settled = false;
  int num_multiprocessors = 1;

  int64_t out_features() const { return is_gate_up ? weights.rows / 2 : weights.rows; }
};

// For few entries per expert: bound by the memory that the weights come from, and in four bits by the number of
// instructions. Weights pass through a multiprocessor once per 24 entries (8 where experts have about four or fewer, 16
// in small dense layers).
void LaunchQuantizedGemmStreaming(const QuantizedGemmArgs& args, Stream stream);
// For many: tiles of kExpertTileRows entries.
void LaunchQuantizedGemmTiled(const QuantizedGemmArgs& args, Stream stream);

enum class QuantizedForm { kStreaming, kTiled };
// By the mean of entries per expert; num_experts 1: a dense layer, or the only expert of a rank.
QuantizedForm ChooseQuantizedForm(WeightFormat format, int64_t num_pairs, int64_t num_experts);

}  // namespace switchyard::cuda
