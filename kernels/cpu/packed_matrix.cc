#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/host_weights.h"

namespace switchyard {
namespace {

// Copies `count` chunks of a row to their places in its group.
template <size_t kChunkBytes>
void ScatterChunks(const std::byte* src, int64_t count, std::byte* dst) {
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(dst + i * PackedMatrix::kGroupRows * static_cast<int64_t>(kChunkBytes),
                src + i * static_cast<int64_t>(kChunkBytes), kChunkBytes);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackedMatrix::Create(const MatrixSpec& spec) {
  if (absl::Status valid = ValidateMatrixSpec(spec); !valid.ok()) return valid;
  const int64_t groups = (spec.out_features + kGroupRows - 1) / kGroupRows;
  const int64_t elements = groups * kGroupRows * NumChunks(spec.in_features) * kChunk;
  absl::StatusOr<Buffer> buffer = AllocateHostMemory(static_cast<size_t>(elements) * SizeOf(spec.dtype));
  if (!buffer.ok()) return buffer.status();
  return std::unique_ptr<PackedMatrix>(new PackedMatrix(spec, *std::move(buffer)));
}

absl::Status PackedMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  if (absl::Status valid = ValidateRows(spec_, row_begin, rows); !valid.ok()) return valid;
  const size_t element = SizeOf(spec_.dtype);
  const size_t row_bytes = static_cast<size_t>(spec_.in_features) * element;
  const size_t chunk_bytes = kChunk * element;
  const auto whole_chunks = static_cast<int64_t>(row_bytes / chunk_bytes);
  const auto* src = static_cast<const std::byte*>(rows.data());
  for (int64_t r = 0; r < rows.dim(0); ++r, src += row_bytes) {
    auto* dst = static_cast<std::byte*>(buffer_.data()) + FirstElement(row_begin + r) * element;
    // Of constant sizes, so that a chunk is a load and a store.
    if (element == sizeof(uint16_t)) {
      ScatterChunks<kChunk * sizeof(uint16_t)>(src, whole_chunks, dst);
    } else {
      ScatterChunks<kChunk * sizeof(float)>(src, whole_chunks, dst);
    }
    const size_t copied = static_cast<size_t>(whole_chunks) * chunk_bytes;
    std::memcpy(dst + copied * kGroupRows, src + copied, row_bytes - copied);
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
