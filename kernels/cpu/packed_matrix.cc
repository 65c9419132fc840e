#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/host_weights.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackedMatrix::Create(const MatrixSpec& spec, HostAllocator allocate) {
  if (absl::Status valid = ValidateMatrixSpec(spec); !valid.ok()) return valid;
  const int64_t groups = (spec.out_features + kGroupRows - 1) / kGroupRows;
  const int64_t elements = groups * kGroupRows * NumChunks(spec.in_features) * kChunk;
  absl::StatusOr<Buffer> buffer = allocate(static_cast<size_t>(elements) * SizeOf(spec.dtype));
  if (!buffer.ok()) return buffer.status();
  return std::unique_ptr<PackedMatrix>(new PackedMatrix(spec, *std::move(buffer)));
}

absl::Status PackedMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  if (absl::Status valid = ValidateRows(spec_, row_begin, rows); !valid.ok()) return valid;
  const size_t element = SizeOf(spec_.dtype);
  const auto* src = static_cast<const std::byte*>(rows.data());
  for (int64_t r = 0; r < rows.dim(0); ++r) {
    auto* dst = static_cast<std::byte*>(buffer_.data()) + FirstElement(row_begin + r) * element;
    for (int64_t column = 0; column < spec_.in_features; column += kChunk) {
      const size_t bytes = std::min(kChunk, spec_.in_features - column) * element;
      std::memcpy(dst, src, bytes);
      src += bytes;
      dst += kGroupRows * kChunk * element;
    }
  }
  return absl::OkStatus();
}

void PackedMatrix::UnpackRow(int64_t row, float* out) const {
  const size_t element = SizeOf(spec_.dtype);
  const auto* src = static_cast<const std::byte*>(buffer_.data()) + FirstElement(row) * element;
  for (int64_t column = 0; column < spec_.in_features; column += kChunk) {
    ConvertToFloat(src, spec_.dtype, std::min(kChunk, spec_.in_features - column), out + column);
    src += kGroupRows * kChunk * element;
  }
}

}  // namespace switchyard
