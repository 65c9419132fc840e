// y = x W^T for blocks of a quantised W, on one thread, in integers: x rounded to 8 bits (quantized_activations.h),
// weights as unsigned bytes. Per 32 columns the sum of products is an exact integer; float32 sums take its multiple of
// both scales.
//
//   kInt4, kInt8: the codes themselves      kNf4: round(127 * kNf4Values[code]) + 128, so a weight is off by 1/254 at
//                                                 most of its group's scale
//
// A row's products depend on nothing but the row and the weights: not on other rows, nor on the division of work.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/quantized_activations.h"
#include "kernels/cpu/quantized_matrix.h"
#include "kernels/cpu/row_tiles.h"

namespace switchyard {

// Rows are packed in tiles, [column groups][tile rows], tile after tile: a tile that starts with row r starts at
// element r * NumActivationGroups(columns).
struct Int8Rows : RowTiles<8> {
  static int64_t PackedSize(int64_t rows, int64_t columns) { return rows * NumActivationGroups(columns); }
  // Rounds tile `tile` of `rows` rows, [weight.spec().in_features]; source(r) is row r's data.
  static void PackTile(int64_t rows, int64_t tile, const QuantizedMatrix& weight,
                       absl::FunctionRef<const float*(int64_t)> source, ActivationGroup* packed);
};

// Instructions that multiply four bytes and add them to an integer at once.
enum class Int8Dot : uint8_t { kPlain, kVnni };
// The best of this CPU.
Int8Dot BestInt8Dot();

// Writes columns [16 * block_begin, min(16 * block_end, out_features)) of y [rows, out_features].
void MultiplyInt8Blocks(Int8Dot dot, const ActivationGroup* packed_rows, int64_t rows, const QuantizedMatrix& weight,
                        int64_t block_begin, int64_t block_end, float* y);

}  // namespace switchyard
