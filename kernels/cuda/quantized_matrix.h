// A quantised matrix [rows, columns] in GPU memory. Plain C++: no CUDA headers, no GPU.
//
// Rows are independent: codes are row-major with no packing across rows, so that any rows are filled by a plain copy.
// Columns are padded to whole blocks, kBlockColumns(format) wide, with codes of unspecified finite values: x is taken
// as 0 there. A block is what the four lanes that share a row of an mma fragment load at once, 16 bytes (a chunk) each,
// so that a lane's 16 columns of each 64 of a block lie together and all four lanes are in the same scale group:
//
//   4 bits, a block of 128 columns in 64 bytes; word w of chunk t holds the 8 columns from
//     64 * (w / 2) + 16 * t + 8 * (w % 2)
//   8 bits, a block of 64 columns in 64 bytes; word w of chunk t holds the 4 columns from 16 * t + 4 * w: natural order
//
// Within a word of 8 columns c = 0..7:
//   kInt4  (word >> 4 * i) & 0x000F000F holds column 2i in the low half and 2i + 1 in the high half
//   kNf4   byte i holds columns 2i (low) and 2i + 1 (high): the natural order, since pairs are looked up by byte
// and of 4 columns (kInt8): byte i is column i.
//
// Scales: kInt4, kInt8 float16 [rows, groups]; kNf4 float32 [rows, groups], or where double-quantised the codes uint8
// [rows, groups] and, per row, NestedScales. `groups` counts those of the padded columns; the scales that this adds are
// 0. Each part begins at a multiple of 256 bytes from the matrix; equal matrices follow each other in one allocation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quantization/quantization.h"

namespace switchyard::cuda {

inline constexpr int kChunkBytes = 16;
inline constexpr int kBlockBytes = 64;
// Columns of a block that surely share a scale: every group_size is a multiple.
inline constexpr int kScaleColumns = 64;
constexpr int kBlockColumns(WeightFormat format) { return format == WeightFormat::kInt8 ? 64 : 128; }

struct QuantizedLayout {
  int64_t padded_columns = 0;
  int64_t groups = 0;         // of a padded row
  int64_t nested_scales = 0;  // of a row, where double-quantised
  int64_t row_bytes = 0;      // of codes
  int64_t scale_bytes = 0;    // of one scale (or its code)
  // Where the parts begin; of those that the format lacks the end of the part before.
  size_t codes = 0;          // uint8 [rows, row_bytes]
  size_t scales = 0;         // [rows, groups]
  size_t zeros = 0;          // uint8 [rows, groups]
  size_t nested_scale = 0;   // float32 [rows, nested_scales]
  size_t nested_offset = 0;  // float32 [rows]
  size_t nested_change = 0;  // int32 [rows]
  size_t column_place = 0;   // int32 [columns]
  size_t bytes = 0;          // of all: from one matrix to the next
};
// `quantization` is valid for `columns` (ValidateQuantization) and not dense.
QuantizedLayout MakeQuantizedLayout(const Quantization& quantization, int64_t rows, int64_t columns);

// `num_matrices` matrices of one layout and, where double-quantised, the table of scales that they share.
size_t QuantizedBytes(const Quantization& quantization, int64_t rows, int64_t columns, int64_t num_matrices);

// One matrix, or the first of several that lie `stride` bytes apart; all pointers are device memory, null where the
// format lacks the part.
struct QuantizedMatrix {
  Quantization quantization;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t padded_columns = 0;
  int64_t groups = 0;         // from one row of scales to the next
  int64_t nested_scales = 0;  // from one row of nested scales to the next
  int64_t row_bytes = 0;      // from one row of codes to the next
  size_t stride = 0;
  const uint8_t* codes = nullptr;
  const void* scales = nullptr;  // float16 (kInt4, kInt8), float32 or uint8 (kNf4)
  const uint8_t* zeros = nullptr;
  const float* nested_scale = nullptr;
  const float* nested_offset = nullptr;
  const int32_t* nested_change = nullptr;
  const float* dynamic_map = nullptr;  // float32 [256], DynamicMap(); shared by all
  // The inverse of the column order: input feature j multiplies stored column column_place[j].
  const int32_t* column_place = nullptr;
};
// `base` of QuantizedBytes, as Matrix and ExpertWeights of this backend hold them.
QuantizedMatrix ViewQuantized(const Quantization& quantization, int64_t rows, int64_t columns, int64_t num_matrices,
                              void* base);
// Matrix `index` of those that begin at `first`.
QuantizedMatrix NthMatrix(const QuantizedMatrix& first, int64_t index);

// The codes of one row (quantized_rows.h) as this layout has them: out [row_bytes], written completely.
void PackCodes(const Quantization& quantization, int64_t columns, const uint8_t* codes, uint8_t* out);

}  // namespace switchyard::cuda
