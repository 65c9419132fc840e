// Operands of the bfloat16 products (onednn_gemm.h) from those of the float32 ones.
#pragma once

#include <cstdint>

#include "kernels/cpu/packed_matrix.h"

namespace switchyard {

// Rounds `count` floats to nearest, ties to even (NaN stays NaN), and fills up to `padded` elements with zeros.
void RoundToBFloat16(const float* in, int64_t count, int64_t padded, uint16_t* out);

// Columns of y in [64 * panel, 64 * panel + 64) as OneDnnGemm takes them, [depth / 2][64][2]; weight is BF16, and depth
// its in_features rounded up to 32. Rows and columns that the weight lacks are zeros.
void UnpackPanel(const PackedMatrix& weight, int64_t panel, int64_t depth, uint16_t* out);

}  // namespace switchyard
