// What one rank reads: for every weight, which rows and columns of which tensors, in the order of the weight's rows.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/checkpoint/weight_map.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "kernels/tensor.h"

namespace switchyard {

// Rows [row_begin, row_end) are read, and of each the columns [column_begin, column_end) are kept.
struct TensorSlice {
  const TensorLocation* tensor = nullptr;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  int64_t column_begin = 0;
  int64_t column_end = 0;

  int64_t num_rows() const { return row_end - row_begin; }
  int64_t num_columns() const { return column_end - column_begin; }
  int64_t bytes_read() const { return num_rows() * tensor->row_bytes(); }
};

// Slices stacked by rows into one weight of one element type.
struct StackedSlices {
  std::vector<TensorSlice> slices;
  DType dtype = DType::kBFloat16;  // that of all slices, or float32 where they differ

  int64_t num_rows() const;
  int64_t num_columns() const { return slices.front().num_columns(); }
};

struct ExpertPlan {
  StackedSlices gate_up;
  StackedSlices down;
};

struct LayerPlan {
  TensorSlice input_norm;
  StackedSlices qkv;
  StackedSlices attention_output;
  TensorSlice post_attention_norm;
  StackedSlices router;
  DType experts_dtype = DType::kBFloat16;
  std::vector<ExpertPlan> experts;  // in slot order
};

// Borrows the locations of the WeightMap it was made from.
struct LoadPlan {
  StackedSlices embedding;
  std::vector<LayerPlan> layers;
  TensorSlice final_norm;
  std::optional<StackedSlices> lm_head;  // none: tied to the embedding
  int64_t bytes_read = 0;                // by all slices
};

// `shard` must lie within the model: heads and experts out of range are a programmer's error.
LoadPlan MakeLoadPlan(const DecoderSpec& spec, const WeightMap& weights, const WeightShard& shard);

}  // namespace switchyard
