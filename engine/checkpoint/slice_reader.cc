#include "engine/checkpoint/slice_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/element_conversion.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

// Large enough to use a disk's full bandwidth, small enough to stay in a core's share of the cache while it is copied.
constexpr int64_t kStagingBytes = int64_t{4} << 20;

}  // namespace

SliceReader::SliceReader(std::span<const std::unique_ptr<RandomAccessFile>> files, int64_t bytes_total,
                         const LoadProgressCallback& progress)
    : files_(files), progress_(progress), done_{.bytes_read = 0, .bytes_total = bytes_total} {}

absl::Status SliceReader::Fill(const StackedSlices& stacked, Matrix& matrix) {
  CHECK_EQ(matrix.spec().out_features, stacked.num_rows());
  CHECK_EQ(matrix.spec().in_features, stacked.num_columns());
  CHECK(matrix.spec().dtype == stacked.dtype);
  int64_t slice_begin = 0;
  for (const TensorSlice& slice : stacked.slices) {
    absl::Status status = ForEachBlock(slice, stacked.dtype, [&](int64_t first_row, ConstTensorView rows) {
      return matrix.Fill(slice_begin + first_row, rows);
    });
    if (!status.ok()) return status;
    slice_begin += slice.num_rows();
  }
  return absl::OkStatus();
}

absl::Status SliceReader::ReadVector(const TensorSlice& slice, std::span<float> out) {
  CHECK_EQ(static_cast<int64_t>(out.size()), slice.num_rows());
  return ForEachBlock(slice, DType::kFloat32, [&](int64_t first_row, ConstTensorView rows) {
    std::memcpy(out.data() + first_row, rows.data(), rows.bytes());
    return absl::OkStatus();
  });
}

absl::Status SliceReader::ForEachBlock(const TensorSlice& slice, DType dtype, const RowSink& sink) {
  const TensorLocation& tensor = *slice.tensor;
  const int64_t rows_per_block = std::max<int64_t>(1, kStagingBytes / tensor.row_bytes());
  for (int64_t row = slice.row_begin; row < slice.row_end; row += rows_per_block) {
    const int64_t num_rows = std::min(rows_per_block, slice.row_end - row);
    const int64_t bytes = num_rows * tensor.row_bytes();
    if (static_cast<int64_t>(staging_.size()) < bytes) staging_.resize(static_cast<size_t>(bytes));
    absl::Status status = files_[tensor.file]->ReadAt(tensor.begin + row * tensor.row_bytes(),
                                                      std::span(staging_).first(static_cast<size_t>(bytes)));
    if (status.ok()) status = sink(row - slice.row_begin, Convert(slice, num_rows, dtype));
    if (!status.ok()) return Describe(status, slice);
    done_.bytes_read += bytes;
    if (progress_) progress_(done_);
  }
  return absl::OkStatus();
}

ConstTensorView SliceReader::Convert(const TensorSlice& slice, int64_t num_rows, DType dtype) {
  const TensorLocation& tensor = *slice.tensor;
  const Shape shape{num_rows, slice.num_columns()};
  const bool all_columns = slice.num_columns() == tensor.columns();
  if (all_columns && dtype == tensor.dtype) return ConstTensorView(staging_.data(), dtype, shape);

  const auto elements = static_cast<size_t>(slice.num_columns());
  const size_t row_bytes = elements * SizeOf(dtype);
  converted_.resize(static_cast<size_t>(num_rows) * row_bytes);
  for (int64_t row = 0; row < num_rows; ++row) {
    const std::byte* const from =
        staging_.data() + row * tensor.row_bytes() + slice.column_begin * static_cast<int64_t>(SizeOf(tensor.dtype));
    std::byte* const to = converted_.data() + static_cast<size_t>(row) * row_bytes;
    if (dtype == tensor.dtype) {
      std::memcpy(to, from, row_bytes);
    } else {
      CHECK(dtype == DType::kFloat32);
      WidenToFloat(tensor.dtype, from, std::span(reinterpret_cast<float*>(to), elements));
    }
  }
  return ConstTensorView(converted_.data(), dtype, shape);
}

absl::Status SliceReader::Describe(const absl::Status& status, const TensorSlice& slice) const {
  const std::string& path = files_[slice.tensor->file]->path();
  // A failed read names the file itself.
  const absl::string_view what = absl::StripPrefix(status.message(), absl::StrCat(path, ": "));
  return absl::Status(status.code(), absl::StrCat(path, ": tensor ", QuoteName(slice.tensor->name), ": ", what));
}

}  // namespace switchyard
