#include "kernels/cpu/quantized_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/code_packing.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/host_weights.h"

namespace switchyard {
namespace {

constexpr int64_t kRows = QuantizedMatrix::kBlockRows;
constexpr int64_t kRowSliceBytes = QuantizedMatrix::kSliceBytes / kRows;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Nibbles 0 to 3 of `value` to the low halves of bytes 0 to 3.
uint32_t SpreadNibbles(uint32_t value) {
  value = (value | value << 8) & 0x00FF'00FFu;
  return (value | value << 4) & 0x0F0F'0F0Fu;
}

// 8 codes of 4 bits in a file's order to a slice's.
uint32_t ToSliceOrder(uint32_t codes) { return SpreadNibbles(codes & 0xFFFFu) | SpreadNibbles(codes >> 16) << 4; }

// Codes [row_bytes] of one row to its place in each slice; `slices` begins at that in the first.
void PackCodeRow(const uint8_t* codes, int64_t row_bytes, bool has_nibbles, uint8_t* slices) {
  for (int64_t i = 0; i < row_bytes; i += kRowSliceBytes, slices += QuantizedMatrix::kSliceBytes) {
    uint32_t slice = 0;
    std::memcpy(&slice, codes + i, static_cast<size_t>(std::min(kRowSliceBytes, row_bytes - i)));
    if (has_nibbles) slice = ToSliceOrder(slice);
    std::memcpy(slices, &slice, sizeof(slice));
  }
}

}  // namespace

QuantizedMatrix::Layout::Layout(const MatrixSpec& spec)
    : scale(spec.quantization.format == WeightFormat::kNf4 ? sizeof(float) : sizeof(uint16_t)),
      scales(RoundUp(spec.quantization.NumGroups(spec.in_features) * kRows * scale, kSliceBytes)),
      zeros(spec.quantization.has_zeros ? RoundUp(spec.quantization.NumGroups(spec.in_features) * kRows, kSliceBytes)
                                        : 0),
      codes(kRows * spec.quantization.CodeBytes(RoundUp(spec.in_features, kColumnMultiple))) {}

size_t PackedQuantizedBytes(const MatrixSpec& spec) {
  const int64_t blocks = (spec.out_features + kRows - 1) / kRows;
  const int64_t order = spec.quantization.reordered ? spec.in_features * static_cast<int64_t>(sizeof(int32_t)) : 0;
  return static_cast<size_t>(blocks * QuantizedMatrix::Layout(spec).block() + order);
}

absl::StatusOr<std::unique_ptr<QuantizedMatrix>> QuantizedMatrix::Create(const MatrixSpec& spec) {
  if (absl::Status valid = ValidateMatrixSpec(spec); !valid.ok()) return valid;
  std::unique_ptr<QuantizedMatrix> matrix(new QuantizedMatrix(spec));
  const size_t order_bytes = spec.quantization.reordered ? static_cast<size_t>(spec.in_features) * sizeof(int32_t) : 0;
  absl::StatusOr<Buffer> buffer = AllocateHostMemory(PackedQuantizedBytes(spec) - order_bytes);
  if (!buffer.ok()) return buffer.status();
  matrix->buffer_ = *std::move(buffer);
  if (order_bytes != 0) {
    absl::StatusOr<Buffer> order = AllocateHostMemory(order_bytes);
    if (!order.ok()) return order.status();
    matrix->order_ = *std::move(order);
  }
  return matrix;
}

absl::Status QuantizedMatrix::FillCodes(int64_t row_begin, ConstTensorView codes) {
  if (absl::Status valid = ValidateCodes(spec_, row_begin, codes); !valid.ok()) return valid;
  const int64_t row_bytes = spec_.quantization.CodeBytes(spec_.in_features);
  const auto* src = static_cast<const uint8_t*>(codes.data());
  const bool has_nibbles = spec_.quantization.bits() == 4;
  const bool is_in_words = row_bytes % kRowSliceBytes == 0 && reinterpret_cast<uintptr_t>(src) % kRowSliceBytes == 0;
  const int64_t row_end = row_begin + codes.dim(0);
  for (int64_t row = row_begin; row < row_end;) {
    uint8_t* slices = BlockData(row / kRows) + layout_.scales + layout_.zeros;
    int64_t filled = 1;
    if (is_in_words && row % kRows == 0 && row + kRows <= row_end) {
      PackCodeBlock(src, static_cast<size_t>(row_bytes), has_nibbles, slices);
      filled = kRows;
    } else {
      PackCodeRow(src, row_bytes, has_nibbles, slices + row % kRows * kRowSliceBytes);
    }
    row += filled;
    src += filled * row_bytes;
  }
  return absl::OkStatus();
}

absl::Status QuantizedMatrix::FillScales(int64_t row_begin, const GroupScales& scales) {
  if (absl::Status valid = ValidateScales(spec_, row_begin, scales); !valid.ok()) return valid;
  const int64_t groups = num_groups();
  size_t i = 0;
  for (int64_t row = row_begin; row < row_begin + scales.num_rows; ++row) {
    uint8_t* data = BlockData(row / kRows);
    for (int64_t group = 0; group < groups; ++group, ++i) {
      const int64_t element = group * kRows + row % kRows;
      const float scale = scales.values[i];
      if (layout_.scale == sizeof(float)) {
        std::memcpy(data + element * layout_.scale, &scale, sizeof(scale));
      } else {
        const uint16_t half = Float16FromFloat(scale);
        if (FloatFromFloat16(half) != scale) {
          return absl::InvalidArgumentError(absl::StrCat("the scale ", scale, " in row ", row, " is no float16"));
        }
        std::memcpy(data + element * layout_.scale, &half, sizeof(half));
      }
      if (spec_.quantization.has_zeros) data[layout_.scales + element] = scales.zeros[i];
    }
  }
  return absl::OkStatus();
}

absl::Status QuantizedMatrix::FillColumnOrder(std::span<const int32_t> order) {
  if (absl::Status valid = ValidateColumnOrder(spec_, order); !valid.ok()) return valid;
  std::copy(order.begin(), order.end(), static_cast<int32_t*>(order_.data()));
  return absl::OkStatus();
}

QuantizedMatrix::Block QuantizedMatrix::block(int64_t i) const {
  const uint8_t* data = BlockData(i);
  return {.scales = data,
          .zeros = spec_.quantization.has_zeros ? data + layout_.scales : nullptr,
          .codes = data + layout_.scales + layout_.zeros};
}

void QuantizedMatrix::UnpackRow(int64_t row, float* out) const {
  const Quantization& quantization = spec_.quantization;
  const Block packed = block(row / kRows);
  const int64_t lane = row % kRows;
  const bool is_byte = quantization.bits() == 8;
  for (int64_t c = 0; c < spec_.in_features; ++c) {
    const int64_t element = c / quantization.group_size * kRows + lane;
    float scale = 0;
    if (layout_.scale == sizeof(float)) {
      scale = static_cast<const float*>(packed.scales)[element];
    } else {
      scale = FloatFromFloat16(static_cast<const uint16_t*>(packed.scales)[element]);
    }
    const int64_t slice = is_byte ? c / 4 : c / 8;
    const int byte = packed.codes[slice * kSliceBytes + lane * kRowSliceBytes + c % 4];
    const int code = is_byte ? byte : (c % 8 < 4 ? byte & 15 : byte >> 4);
    const int zero = packed.zeros != nullptr ? packed.zeros[element] : quantization.default_zero();
    const float value = quantization.format == WeightFormat::kNf4 ? kNf4Values[static_cast<size_t>(code)]
                                                                  : static_cast<float>(code - zero);
    out[column_order() != nullptr ? column_order()[c] : c] = scale * value;
  }
}

}  // namespace switchyard
