// What the reading threads share out among them: pieces of about one read each, in the order of the files.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/planned_weights.h"
#include "kernels/weights.h"

namespace switchyard {

// A tensor, or a part of it, on its way into its place in a weight.
struct TensorLoad {
  TensorSlice slice;
  QuantizationRecipe recipe;  // of a dense tensor whose weight is quantised
  Matrix* matrix = nullptr;
  int64_t matrix_row = 0;  // of the slice's first row

  // Whether rows as they lie in the file are not yet what the matrix takes.
  bool is_converted() const;
  // Of `num_rows` rows as the matrix takes them.
  int64_t bytes_filled(int64_t num_rows) const;
};

// What a thread takes at once: whole rows of a dense tensor, or a quantised tensor with all its parts.
struct LoadBlock {
  const TensorLoad* load = nullptr;
  int64_t row_begin = 0;  // rows [row_begin, row_end) are read
  int64_t row_end = 0;

  const TensorLocation& tensor() const { return *load->slice.tensor; }
  int64_t num_rows() const { return row_end - row_begin; }
  // Where it begins in the tensor's first file.
  int64_t offset() const;
  int64_t bytes_read() const;
};

struct LoadBlocks {
  std::vector<TensorLoad> loads;
  std::vector<LoadBlock> blocks;  // borrows `loads`
};

// Every row that is read in exactly one block. Of a dense tensor a block has at least one row, at most `block_bytes` if
// it has more, and begins at the same rows whichever of them are read, as the chunks of a manifest do. File by file,
// offsets ascending, so that disks stream.
LoadBlocks SplitIntoBlocks(std::span<const PlannedMatrix> matrices, int64_t block_bytes);

// Rows of a dense tensor in a block of `block_bytes`.
int64_t RowsOfBlock(const TensorLocation& tensor, int64_t block_bytes);

}  // namespace switchyard
