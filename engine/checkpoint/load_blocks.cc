#include "engine/checkpoint/load_blocks.h"

#include <algorithm>
#include <utility>

namespace switchyard {

bool LoadBlock::is_converted() const {
  return slice.tensor->dtype != matrix->spec().dtype || slice.num_columns() != slice.tensor->columns();
}

int64_t LoadBlock::bytes_filled() const {
  return slice.num_rows() * slice.num_columns() * static_cast<int64_t>(SizeOf(matrix->spec().dtype));
}

std::vector<LoadBlock> SplitIntoBlocks(std::span<const PlannedMatrix> matrices, int64_t block_bytes) {
  std::vector<LoadBlock> blocks;
  for (const PlannedMatrix& planned : matrices) {
    int64_t matrix_row = 0;
    for (const TensorSlice& slice : planned.source->slices) {
      const int64_t most_rows = std::max<int64_t>(1, block_bytes / slice.tensor->row_bytes());
      for (int64_t row = slice.row_begin; row < slice.row_end; row += most_rows) {
        LoadBlock block{.slice = slice, .matrix = planned.weight, .matrix_row = matrix_row};
        block.slice.row_begin = row;
        block.slice.row_end = std::min(row + most_rows, slice.row_end);
        matrix_row += block.slice.num_rows();
        blocks.push_back(block);
      }
    }
  }
  std::sort(blocks.begin(), blocks.end(), [](const LoadBlock& a, const LoadBlock& b) {
    return std::pair(a.slice.tensor->file, a.offset()) < std::pair(b.slice.tensor->file, b.offset());
  });
  return blocks;
}

}  // namespace switchyard
