#include "engine/checkpoint/block_reader.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/element_conversion.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

absl::Status Describe(const RandomAccessFile& file, const TensorLocation& tensor, const absl::Status& status) {
  // A failed read names the file itself.
  const absl::string_view what = absl::StripPrefix(status.message(), absl::StrCat(file.path(), ": "));
  return absl::Status(status.code(), absl::StrCat(file.path(), ": tensor ", QuoteName(tensor.name), ": ", what));
}

}  // namespace

absl::StatusOr<BlockReader> BlockReader::Create(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                                std::span<const LoadBlock> blocks, Backend& backend) {
  int64_t staging_bytes = 0;
  int64_t converted_bytes = 0;
  for (const LoadBlock& block : blocks) {
    staging_bytes = std::max(staging_bytes, block.bytes_read());
    if (block.is_converted()) converted_bytes = std::max(converted_bytes, block.bytes_filled());
  }
  absl::StatusOr<Buffer> staging = backend.AllocateStaging(static_cast<size_t>(staging_bytes));
  if (!staging.ok()) return staging.status();
  if (converted_bytes == 0) return BlockReader(files, *std::move(staging), Buffer());
  absl::StatusOr<Buffer> converted = backend.AllocateStaging(static_cast<size_t>(converted_bytes));
  if (!converted.ok()) return converted.status();
  return BlockReader(files, *std::move(staging), *std::move(converted));
}

absl::Status BlockReader::Load(const LoadBlock& block) {
  const RandomAccessFile& file = *files_[block.slice.tensor->file];
  const std::span<std::byte> staged(static_cast<std::byte*>(staging_.data()), static_cast<size_t>(block.bytes_read()));
  absl::Status status = file.ReadAt(block.offset(), staged);
  if (status.ok()) status = block.matrix->Fill(block.matrix_row, Convert(block));
  return status.ok() ? status : Describe(file, *block.slice.tensor, status);
}

ConstTensorView BlockReader::Convert(const LoadBlock& block) {
  const TensorSlice& slice = block.slice;
  const TensorLocation& tensor = *slice.tensor;
  const DType dtype = block.matrix->spec().dtype;
  const Shape shape{slice.num_rows(), slice.num_columns()};
  if (!block.is_converted()) return ConstTensorView(staging_.data(), dtype, shape);

  const auto elements = static_cast<size_t>(slice.num_columns());
  const size_t row_bytes = elements * SizeOf(dtype);
  const auto* from =
      static_cast<const std::byte*>(staging_.data()) + slice.column_begin * static_cast<int64_t>(SizeOf(tensor.dtype));
  auto* to = static_cast<std::byte*>(converted_.data());
  for (int64_t row = 0; row < slice.num_rows(); ++row) {
    if (dtype == tensor.dtype) {
      std::memcpy(to, from, row_bytes);
    } else {
      CHECK(dtype == DType::kFloat32);
      WidenToFloat(tensor.dtype, from, std::span(reinterpret_cast<float*>(to), elements));
    }
    from += tensor.row_bytes();
    to += row_bytes;
  }
  return ConstTensorView(converted_.data(), dtype, shape);
}

absl::Status ReadVector(std::span<const std::unique_ptr<RandomAccessFile>> files, const TensorSlice& slice,
                        std::span<float> out) {
  CHECK_EQ(static_cast<int64_t>(out.size()), slice.num_rows());
  const TensorLocation& tensor = *slice.tensor;
  const RandomAccessFile& file = *files[tensor.file];
  std::vector<std::byte> elements(static_cast<size_t>(slice.bytes_read()));
  const absl::Status status = file.ReadAt(tensor.begin + slice.row_begin * tensor.row_bytes(), elements);
  if (!status.ok()) return Describe(file, tensor, status);
  WidenToFloat(tensor.dtype, elements.data(), out);
  return absl::OkStatus();
}

}  // namespace switchyard
