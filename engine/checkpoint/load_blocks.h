// What the reading threads share out among them: pieces of about one read each, in the order of the files.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/planned_weights.h"
#include "kernels/weights.h"

namespace switchyard {

// Whole rows of one tensor, read at once, and where they go.
struct LoadBlock {
  TensorSlice slice;
  Matrix* matrix = nullptr;
  int64_t matrix_row = 0;  // of the slice's first row

  int64_t offset() const { return slice.tensor->begin + slice.row_begin * slice.tensor->row_bytes(); }
  int64_t bytes_read() const { return slice.bytes_read(); }
  // Whether the rows as they lie in the file are not yet what the matrix takes.
  bool is_converted() const;
  // Of the rows as the matrix takes them.
  int64_t bytes_filled() const;
};

// Every row of every matrix in exactly one block; a block has at least one row, and at most `block_bytes` if it has
// more. File by file, offsets ascending, so that disks stream.
std::vector<LoadBlock> SplitIntoBlocks(std::span<const PlannedMatrix> matrices, int64_t block_bytes);

}  // namespace switchyard
