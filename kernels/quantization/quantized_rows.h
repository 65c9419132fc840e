// Quantised rows in host memory: what files are converted to, and what backends pack their weights from.
//
// Codes of 4 bits lie two to a byte, the lower column in the lower half; a row begins at a byte:
//   columns 0 1 2 3 of a row with codes 1 2 3 4:  bytes 0x21 0x43
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/quantization/quantization.h"

namespace switchyard {

// Scales of double-quantised rows (kNf4): scale(row, g) =
//   DynamicMap()[codes[row, g]] * (g < change[row] ? scales[row, 0] : scales[row, 1 + (g - change[row]) / 256])
//   + offsets[row]
// In a file 256 groups in a row, of any rows, share a nested scale; here every row has its own copies.
struct NestedScales {
  std::span<const uint8_t> codes;   // [rows, groups]
  std::span<const float> scales;    // [rows, NumNestedScales(groups)]
  std::span<const int32_t> change;  // [rows], in [1, 256]: groups before the second nested scale begins
  std::span<const float> offsets;   // [rows]
};

inline constexpr int64_t kNestedBlock = 256;
// The most that a row of `groups` groups can touch, whatever its place in its tensor; of rows whose groups divide a
// nested block evenly, 1.
constexpr int64_t NumNestedScales(int64_t groups) {
  return groups > 0 && kNestedBlock % groups == 0 ? 1 : (groups + kNestedBlock - 2) / kNestedBlock + 1;
}

// The 256 values of an 8-bit scale: bitsandbytes' signed dynamic map (Dettmers 2016, arXiv:1511.04561), ascending.
std::span<const float, 256> DynamicMap();

// Scales of some consecutive rows of a matrix.
struct GroupScales {
  int64_t num_rows = 0;
  std::span<const float> values;   // [rows, groups]; of double-quantised rows what `nested` amounts to, in float32
  std::span<const uint8_t> zeros;  // [rows, groups] where has_zeros; empty otherwise
  NestedScales nested;             // where double_quantized; empty otherwise
};

// One row as float32: codes [CodeBytes], scales [groups], zeros [groups] or empty; out [columns], in stored order.
void DequantizeRow(const Quantization& quantization, int64_t columns, const uint8_t* codes, const float* scales,
                   const uint8_t* zeros, float* out);

}  // namespace switchyard
