#include "engine/checkpoint/load_blocks.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

void SplitDense(const TensorLoad& load, int64_t block_bytes, std::vector<LoadBlock>& blocks) {
  const TensorSlice& slice = load.slice;
  const int64_t most_rows = RowsOfBlock(*slice.tensor, block_bytes);
  const int64_t begin = slice.is_read_whole ? 0 : slice.row_begin;
  const int64_t end = slice.is_read_whole ? slice.tensor->rows() : slice.row_end;
  for (int64_t row = begin; row < end;) {
    const int64_t next = std::min((row / most_rows + 1) * most_rows, end);
    blocks.push_back({.load = &load, .row_begin = row, .row_end = next});
    row = next;
  }
}

}  // namespace

bool TensorLoad::is_converted() const {
  return !recipe.is_dense() || slice.tensor->dtype != matrix->spec().dtype || !slice.has_all_columns();
}

int64_t TensorLoad::bytes_filled(int64_t num_rows) const {
  const MatrixSpec& spec = matrix->spec();
  return num_rows * (spec.quantization.is_dense() ? slice.num_columns() * static_cast<int64_t>(SizeOf(spec.dtype))
                                                  : spec.quantization.CodeBytes(slice.num_columns()));
}

int64_t LoadBlock::offset() const {
  return tensor().is_dense() ? tensor().begin + row_begin * tensor().row_bytes() : tensor().parts.front().begin;
}

int64_t LoadBlock::bytes_read() const {
  return tensor().is_dense() ? num_rows() * tensor().row_bytes() : tensor().bytes();
}

int64_t RowsOfBlock(const TensorLocation& tensor, int64_t block_bytes) {
  return std::max<int64_t>(1, block_bytes / tensor.row_bytes());
}

LoadBlocks SplitIntoBlocks(std::span<const PlannedMatrix> matrices, int64_t block_bytes) {
  LoadBlocks split;
  for (const PlannedMatrix& planned : matrices) {
    int64_t matrix_row = 0;
    for (const TensorSlice& slice : planned.source->slices) {
      split.loads.push_back({.slice = slice,
                             .recipe = slice.tensor->is_dense() ? planned.source->recipe : QuantizationRecipe{},
                             .matrix = planned.weight,
                             .matrix_row = matrix_row});
      matrix_row += slice.num_rows();
    }
  }
  for (const TensorLoad& load : split.loads) {
    if (load.slice.tensor->is_dense()) {
      SplitDense(load, block_bytes, split.blocks);
    } else {
      split.blocks.push_back({.load = &load, .row_begin = 0, .row_end = load.slice.tensor->rows()});
    }
  }
  std::sort(split.blocks.begin(), split.blocks.end(), [](const LoadBlock& a, const LoadBlock& b) {
    return std::pair(a.tensor().file, a.offset()) < std::pair(b.tensor().file, b.offset());
  });
  return split;
}

}  // namespace switchyard
