#include "kernels/cuda/quantized_matrix.h"

#include <cstring>

#include "kernels/check.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/quantization/quantized_rows.h"

namespace switchyard::cuda {
namespace {

constexpr size_t kDynamicMapBytes = 256 * sizeof(float);

// Nibbles 0..7 to 0, 4, 1, 5, 2, 6, 3, 7: column 2i to nibble i and 2i + 1 to nibble i + 4.
uint32_t SplitPairs(uint32_t word) {
  uint32_t result = 0;
  for (int c = 0; c < 8; ++c) result |= (word >> (4 * c) & 0xF) << (c % 2 * 16 + c / 2 * 4);
  return result;
}

}  // namespace

QuantizedLayout MakeQuantizedLayout(const Quantization& quantization, int64_t rows, int64_t columns) {
  CHECK(!quantization.is_dense());
  QuantizedLayout layout;
  const int64_t block = kBlockColumns(quantization.format);
  layout.padded_columns = (columns + block - 1) / block * block;
  layout.groups = quantization.NumGroups(layout.padded_columns);
  layout.row_bytes = quantization.CodeBytes(layout.padded_columns);
  const bool is_nf4 = quantization.format == WeightFormat::kNf4;
  layout.scale_bytes = quantization.double_quantized ? 1 : is_nf4 ? 4 : 2;
  // What the host has of a row.
  layout.nested_scales = quantization.double_quantized ? NumNestedScales(quantization.NumGroups(columns)) : 0;

  const auto add = [&layout](bool is_there, int64_t bytes) {
    const size_t begin = layout.bytes;
    if (is_there) layout.bytes += AlignedBytes(static_cast<size_t>(bytes));
    return begin;
  };
  const auto word = static_cast<int64_t>(sizeof(int32_t));
  layout.codes = add(true, rows * layout.row_bytes);
  layout.scales = add(true, rows * layout.groups * layout.scale_bytes);
  layout.zeros = add(quantization.has_zeros, rows * layout.groups);
  layout.nested_scale = add(quantization.double_quantized, rows * layout.nested_scales * word);
  layout.nested_offset = add(quantization.double_quantized, rows * word);
  layout.nested_change = add(quantization.double_quantized, rows * word);
  layout.column_place = add(quantization.reordered, columns * word);
  return layout;
}

size_t QuantizedBytes(const Quantization& quantization, int64_t rows, int64_t columns, int64_t num_matrices) {
  if (num_matrices == 0) return 0;
  const size_t matrices = static_cast<size_t>(num_matrices) * MakeQuantizedLayout(quantization, rows, columns).bytes;
  return matrices + (quantization.double_quantized ? kDynamicMapBytes : 0);
}

QuantizedMatrix ViewQuantized(const Quantization& quantization, int64_t rows, int64_t columns, int64_t num_matrices,
                              void* base) {
  const QuantizedLayout layout = MakeQuantizedLayout(quantization, rows, columns);
  const auto* bytes = static_cast<const uint8_t*>(base);
  QuantizedMatrix matrix = {.quantization = quantization,
                            .rows = rows,
                            .columns = columns,
                            .padded_columns = layout.padded_columns,
                            .groups = layout.groups,
                            .nested_scales = layout.nested_scales,
                            .row_bytes = layout.row_bytes,
                            .stride = layout.bytes,
                            .codes = bytes + layout.codes,
                            .scales = bytes + layout.scales};
  if (quantization.has_zeros) matrix.zeros = bytes + layout.zeros;
  if (quantization.double_quantized) {
    matrix.nested_scale = reinterpret_cast<const float*>(bytes + layout.nested_scale);
    matrix.nested_offset = reinterpret_cast<const float*>(bytes + layout.nested_offset);
    matrix.nested_change = reinterpret_cast<const int32_t*>(bytes + layout.nested_change);
    matrix.dynamic_map = reinterpret_cast<const float*>(bytes + static_cast<size_t>(num_matrices) * layout.bytes);
  }
  if (quantization.reordered) matrix.column_place = reinterpret_cast<const int32_t*>(bytes + layout.column_place);
  return matrix;
}

QuantizedMatrix NthMatrix(const QuantizedMatrix& first, int64_t index) {
  QuantizedMatrix matrix = ViewQuantized(first.quantization, first.rows, first.columns, 1,
                                         const_cast<uint8_t*>(first.codes) + static_cast<size_t>(index) * first.stride);
  matrix.dynamic_map = first.dynamic_map;
  return matrix;
}

void PackCodes(const Quantization& quantization, int64_t columns, const uint8_t* codes, uint8_t* out) {
  const int64_t code_bytes = quantization.CodeBytes(columns);
  const int64_t row_bytes = MakeQuantizedLayout(quantization, 1, columns).row_bytes;
  if (quantization.bits() == 8) {
    std::memcpy(out, codes, static_cast<size_t>(code_bytes));
    std::memset(out + code_bytes, 0, static_cast<size_t>(row_bytes - code_bytes));
    return;
  }
  const bool is_int4 = quantization.format == WeightFormat::kInt4;
  constexpr int kWords = kBlockBytes / 4;
  for (int64_t begin = 0; begin < row_bytes; begin += kBlockBytes) {
    uint32_t natural[kWords] = {};
    const int64_t count = code_bytes - begin < kBlockBytes ? code_bytes - begin : int64_t{kBlockBytes};
    std::memcpy(natural, codes + begin, static_cast<size_t>(count));
    uint32_t block[kWords];
    for (int chunk = 0; chunk < 4; ++chunk) {
      for (int w = 0; w < 4; ++w) {
        const uint32_t word = natural[w / 2 * 8 + chunk * 2 + w % 2];
        block[chunk * 4 + w] = is_int4 ? SplitPairs(word) : word;
      }
    }
    std::memcpy(out + begin, block, kBlockBytes);
  }
}

}  // namespace switchyard::cuda
