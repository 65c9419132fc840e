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
#include "engine/checkpoint/quantized_sources.h"
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
                                                std::span<const LoadBlock> blocks, QuantizedFill& fill,
                                                Backend& backend) {
  int64_t staging_bytes = 0;
  int64_t converted_bytes = 0;
  for (const LoadBlock& block : blocks) {
    if (!block.tensor().is_dense()) continue;
    staging_bytes = std::max(staging_bytes, block.bytes_read());
    if (block.load->recipe.is_dense() && block.load->is_converted()) {
      converted_bytes = std::max(converted_bytes, block.load->bytes_filled(block.num_rows()));
    }
  }
  Buffer buffers[2];
  for (const auto& [bytes, buffer] : {std::pair(staging_bytes, &buffers[0]), std::pair(converted_bytes, &buffers[1])}) {
    if (bytes == 0) continue;
    absl::StatusOr<Buffer> allocated = backend.AllocateStaging(static_cast<size_t>(bytes));
    if (!allocated.ok()) return allocated.status();
    *buffer = *std::move(allocated);
  }
  return BlockReader(files, fill, std::move(buffers[0]), std::move(buffers[1]));
}

absl::Status BlockReader::Load(const LoadBlock& block) {
  return block.tensor().is_dense() ? LoadDense(block) : LoadQuantized(*block.load);
}

absl::Status BlockReader::LoadDense(const LoadBlock& block) {
  const TensorLoad& load = *block.load;
  const RandomAccessFile& file = *files_[block.tensor().file];
  const std::span<std::byte> staged(static_cast<std::byte*>(staging_.data()), static_cast<size_t>(block.bytes_read()));
  absl::Status status = file.ReadAt(block.offset(), staged);
  if (status.ok()) {
    status = load.recipe.is_dense()
                 ? load.matrix->Fill(load.matrix_row + block.row_begin - load.slice.row_begin, Convert(block))
                 : fill_->FillRows(block, staged.data());
  }
  return status.ok() ? status : Describe(file, block.tensor(), status);
}

absl::Status BlockReader::LoadQuantized(const TensorLoad& load) {
  const TensorLocation& tensor = *load.slice.tensor;
  const absl::StatusOr<QuantizedTensor> quantized = ReadQuantizedTensor(files_, tensor);
  if (!quantized.ok()) return quantized.status();
  const absl::Status status = fill_->FillTensor(load, *quantized);
  return status.ok() ? status : Describe(*files_[tensor.file], tensor, status);
}

ConstTensorView BlockReader::Convert(const LoadBlock& block) {
  const TensorSlice& slice = block.load->slice;
  const TensorLocation& tensor = *slice.tensor;
  const DType dtype = block.load->matrix->spec().dtype;
  const Shape shape{block.num_rows(), slice.num_columns()};
  if (!block.load->is_converted()) return ConstTensorView(staging_.data(), dtype, shape);

  const auto elements = static_cast<size_t>(slice.num_columns());
  const size_t row_bytes = elements * SizeOf(dtype);
  const auto* from =
      static_cast<const std::byte*>(staging_.data()) + slice.column_begin * static_cast<int64_t>(SizeOf(tensor.dtype));
  auto* to = static_cast<std::byte*>(converted_.data());
  for (int64_t row = 0; row < block.num_rows(); ++row) {
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
