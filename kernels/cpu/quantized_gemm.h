// y = x W^T for blocks of a quantised W, on one thread, in float32: weights become float32 in registers.
//
// Rows are packed as for the dense products (gemm.h). A row's products depend on nothing but the row and the weights:
// not on other rows, nor on the division of work.
#pragma once

#include <cstdint>

#include "kernels/cpu/quantized_matrix.h"

namespace switchyard {

// packed_rows: PackTile's, of spec().in_features columns. Writes columns [16 * block_begin, min(16 * block_end,
// out_features)) of y [rows, out_features].
void MultiplyBlocks(const float* packed_rows, int64_t rows, const QuantizedMatrix& weight, int64_t block_begin,
                    int64_t block_end, float* y);

}  // namespace switchyard
