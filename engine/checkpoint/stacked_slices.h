// Parts of tensors that are stacked into one weight, and the form in which that weight is held.
//
// A tensor is quantised as a whole and sliced afterwards, so that what a rank computes with does not depend on how
// many share the work.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/weight_map.h"
#include "kernels/quantization/quantization.h"
#include "kernels/tensor.h"

namespace switchyard {

// Rows [row_begin, row_end) are kept, and of each the columns [column_begin, column_end).
struct TensorSlice {
  const TensorLocation* tensor = nullptr;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  int64_t column_begin = 0;
  int64_t column_end = 0;
  // Rows that are not kept are read as well: of a tensor that the file holds quantised, whose parts are not divided by
  // rows, and of one that is double quantised, whose scales have scales that depend on all rows.
  bool is_read_whole = false;

  int64_t num_rows() const { return row_end - row_begin; }
  int64_t num_columns() const { return column_end - column_begin; }
  bool has_all_columns() const { return num_columns() == tensor->columns(); }
  int64_t bytes_read() const { return is_read_whole ? tensor->bytes() : num_rows() * tensor->row_bytes(); }
};

// Slices stacked by rows into one weight of one form.
struct StackedSlices {
  std::vector<TensorSlice> slices;
  DType dtype = DType::kBFloat16;  // of dense rows: that of all slices, or float32 where they differ
  Quantization quantization = {};  // of the weight; where dense, quantised tensors are dequantised
  QuantizationRecipe recipe = {};  // how tensors that are dense in the file become that; dense where the weight is

  int64_t num_rows() const;
  int64_t num_columns() const { return slices.front().num_columns(); }
  int64_t bytes_read() const;
};

// Weights that had to stay dense although the checkpoint or the user has them quantised.
class DenseFallbacks {
 public:
  void Add(const std::string& tensor, const std::string& because);
  // A sentence for each reason, which names the first weight and says how many there are.
  std::vector<std::string> Sentences() const;

 private:
  struct Names {
    std::string first;
    int64_t count = 0;
  };
  std::map<std::string, Names> by_reason_;
};

// The slices, which have the same number of columns, in the form that all of them can have: that of the file, or what
// `recipe` makes of dense tensors. Groups are halved where a share of the columns or another slice demands it. Where
// there is no such form, because columns cannot be divided or slices differ, the weight is dense.
StackedSlices Stack(std::vector<TensorSlice> slices, const QuantizationRecipe& recipe, DenseFallbacks& fallbacks);

// One slice as a dense weight, without a word about it; a quantised tensor is dequantised.
StackedSlices DenseStack(const TensorSlice& slice);

// The form that weights of forms `a` and `b` can both have: either, in groups of 64 where their groups differ; none if
// they differ otherwise.
std::optional<Quantization> CommonForm(const Quantization& a, const Quantization& b);

// Turns a quantised stack into a dense one.
void MakeDense(StackedSlices& stacked, const std::string& because, DenseFallbacks& fallbacks);

}  // namespace switchyard
