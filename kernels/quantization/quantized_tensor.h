// A whole weight tensor in the neutral quantised form, owning its memory: what a quantised file is read as, and what
// quantisation makes.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/quantization/quantization.h"
#include "kernels/quantization/quantized_rows.h"

namespace switchyard {

// GroupScales of `rows` rows, owned.
struct ScaleArrays {
  int64_t rows = 0;
  int64_t groups = 0;                  // of a row
  std::vector<float> values;           // [rows, groups]
  std::vector<uint8_t> zeros;          // [rows, groups], or empty
  std::vector<uint8_t> nested_codes;   // [rows, groups], or empty like the three below
  std::vector<float> nested_scales;    // [rows, NumNestedScales(groups)]
  std::vector<int32_t> nested_change;  // [rows]
  std::vector<float> nested_offsets;   // [rows]

  // Borrowed.
  GroupScales Rows(int64_t row_begin, int64_t row_end) const;
};

struct QuantizedTensor {
  Quantization quantization;
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<uint8_t> codes;  // [rows, CodeBytes(columns)]
  ScaleArrays scales;
  std::vector<int32_t> order;  // [columns] where reordered; see Quantization::reordered
};

// Rows [row_begin, row_end).
QuantizedTensor SliceRows(const QuantizedTensor& tensor, int64_t row_begin, int64_t row_end);
// Whether groups [begin, end) of a row of `groups` touch no more nested blocks than NumNestedScales of them allows,
// whichever row of its tensor it is. Equal parts of rows do; of other parts whose groups divide a nested block some may
// lie across its end.
constexpr bool NestedScalesFit(int64_t groups, int64_t begin, int64_t end) {
  // Rows begin at all multiples of this within a nested block.
  const int64_t step = std::gcd(groups, kNestedBlock);
  return NumNestedScales(end - begin) > 1 || begin % step + (end - begin) <= step;
}
// Columns [column_begin, column_end), which must begin and end at groups or at the end of the row; not reordered.
// Double quantised: where the slice's nested scales do not fit (NestedScalesFit), it has its scales in float32 alone.
QuantizedTensor SliceColumns(const QuantizedTensor& tensor, int64_t column_begin, int64_t column_end);
// The same values in groups of `group_size`, which divides those of now.
QuantizedTensor Regroup(const QuantizedTensor& tensor, int64_t group_size);
// Rows [row_begin, row_end) as float32 in the order of the input features, out [rows, columns].
void DequantizeRows(const QuantizedTensor& tensor, int64_t row_begin, int64_t row_end, std::span<float> out);

}  // namespace switchyard
