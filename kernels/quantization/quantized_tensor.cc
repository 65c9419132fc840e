#include "kernels/quantization/quantized_tensor.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {
namespace {

// Elements [begin * width, end * width).
template <typename T>
std::span<const T> RowSpan(const std::vector<T>& values, int64_t begin, int64_t end, int64_t width) {
  if (values.empty()) return {};
  return std::span(values).subspan(static_cast<size_t>(begin * width), static_cast<size_t>((end - begin) * width));
}

template <typename T>
std::vector<T> CopyRows(const std::vector<T>& values, int64_t begin, int64_t end, int64_t width) {
  const std::span<const T> span = RowSpan(values, begin, end, width);
  return {span.begin(), span.end()};
}

// Columns [begin, end) of rows of `width`.
template <typename T>
std::vector<T> CopyColumns(const std::vector<T>& values, int64_t width, int64_t begin, int64_t end) {
  std::vector<T> out;
  if (values.empty()) return out;
  const int64_t rows = width == 0 ? 0 : static_cast<int64_t>(values.size()) / width;
  out.reserve(static_cast<size_t>(rows * (end - begin)));
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = values.begin() + row * width;
    out.insert(out.end(), first + begin, first + end);
  }
  return out;
}

// Groups [begin, end) of rows with nested scales: which nested block the first of them lies in decides what follows.
void SliceNested(const ScaleArrays& in, int64_t begin, int64_t end, ScaleArrays& out) {
  const int64_t in_width = NumNestedScales(in.groups);
  const int64_t out_width = NumNestedScales(end - begin);
  out.nested_codes = CopyColumns(in.nested_codes, in.groups, begin, end);
  out.nested_offsets = in.nested_offsets;
  out.nested_scales.resize(static_cast<size_t>(in.rows * out_width));
  out.nested_change.resize(static_cast<size_t>(in.rows));
  for (int64_t row = 0; row < in.rows; ++row) {
    const int64_t change = in.nested_change[static_cast<size_t>(row)];
    const int64_t first = begin < change ? 0 : 1 + (begin - change) / kNestedBlock;
    const int64_t new_change = change + first * kNestedBlock - begin;
    CHECK(out_width > 1 || new_change >= end - begin);
    out.nested_change[static_cast<size_t>(row)] = static_cast<int32_t>(new_change);
    const float* source = in.nested_scales.data() + row * in_width;
    std::copy(source + first, source + std::min(first + out_width, in_width),
              out.nested_scales.data() + row * out_width);
  }
}

}  // namespace

GroupScales ScaleArrays::Rows(int64_t row_begin, int64_t row_end) const {
  CHECK(0 <= row_begin && row_begin <= row_end && row_end <= rows);
  return {.num_rows = row_end - row_begin,
          .values = RowSpan(values, row_begin, row_end, groups),
          .zeros = RowSpan(zeros, row_begin, row_end, groups),
          .nested = {.codes = RowSpan(nested_codes, row_begin, row_end, groups),
                     .scales = RowSpan(nested_scales, row_begin, row_end, NumNestedScales(groups)),
                     .change = RowSpan(nested_change, row_begin, row_end, 1),
                     .offsets = RowSpan(nested_offsets, row_begin, row_end, 1)}};
}

QuantizedTensor SliceRows(const QuantizedTensor& tensor, int64_t row_begin, int64_t row_end) {
  CHECK(0 <= row_begin && row_begin <= row_end && row_end <= tensor.rows);
  const ScaleArrays& scales = tensor.scales;
  const int64_t nested = NumNestedScales(scales.groups);
  const int64_t code_bytes = tensor.quantization.CodeBytes(tensor.columns);
  return {.quantization = tensor.quantization,
          .rows = row_end - row_begin,
          .columns = tensor.columns,
          .codes = CopyRows(tensor.codes, row_begin, row_end, code_bytes),
          .scales = {.rows = row_end - row_begin,
                     .groups = scales.groups,
                     .values = CopyRows(scales.values, row_begin, row_end, scales.groups),
                     .zeros = CopyRows(scales.zeros, row_begin, row_end, scales.groups),
                     .nested_codes = CopyRows(scales.nested_codes, row_begin, row_end, scales.groups),
                     .nested_scales = CopyRows(scales.nested_scales, row_begin, row_end, nested),
                     .nested_change = CopyRows(scales.nested_change, row_begin, row_end, 1),
                     .nested_offsets = CopyRows(scales.nested_offsets, row_begin, row_end, 1)},
          .order = tensor.order};
}

QuantizedTensor SliceColumns(const QuantizedTensor& tensor, int64_t column_begin, int64_t column_end) {
  const Quantization& quantization = tensor.quantization;
  const int64_t group_size = quantization.group_size;
  CHECK(!quantization.reordered);
  CHECK(0 <= column_begin && column_begin <= column_end && column_end <= tensor.columns);
  CHECK_EQ(column_begin % group_size, 0);
  CHECK(column_end % group_size == 0 || column_end == tensor.columns);
  const int64_t group_begin = column_begin / group_size;
  const int64_t group_end = quantization.NumGroups(column_end);
  QuantizedTensor slice = {.quantization = quantization, .rows = tensor.rows, .columns = column_end - column_begin};
  slice.codes = CopyColumns(tensor.codes, quantization.CodeBytes(tensor.columns), quantization.CodeBytes(column_begin),
                            quantization.CodeBytes(column_end));
  const ScaleArrays& scales = tensor.scales;
  slice.scales = {.rows = tensor.rows,
                  .groups = group_end - group_begin,
                  .values = CopyColumns(scales.values, scales.groups, group_begin, group_end),
                  .zeros = CopyColumns(scales.zeros, scales.groups, group_begin, group_end)};
  slice.quantization.double_quantized =
      quantization.double_quantized && NestedScalesFit(scales.groups, group_begin, group_end);
  if (slice.quantization.double_quantized) SliceNested(scales, group_begin, group_end, slice.scales);
  return slice;
}

QuantizedTensor Regroup(const QuantizedTensor& tensor, int64_t group_size) {
  QuantizedTensor out = tensor;
  if (group_size == tensor.quantization.group_size) return out;
  CHECK(!tensor.quantization.double_quantized);
  CHECK_GT(group_size, 0);
  CHECK_EQ(tensor.quantization.group_size % group_size, 0);
  const int64_t parts = tensor.quantization.group_size / group_size;
  out.quantization.group_size = group_size;
  const int64_t old_groups = tensor.scales.groups;
  const int64_t groups = out.quantization.NumGroups(tensor.columns);
  out.scales.groups = groups;
  const auto repeat = [&](const auto& from, auto& to) {
    if (from.empty()) return;
    to.resize(static_cast<size_t>(tensor.rows * groups));
    for (int64_t row = 0; row < tensor.rows; ++row) {
      for (int64_t g = 0; g < groups; ++g) {
        to[static_cast<size_t>(row * groups + g)] = from[static_cast<size_t>(row * old_groups + g / parts)];
      }
    }
  };
  repeat(tensor.scales.values, out.scales.values);
  repeat(tensor.scales.zeros, out.scales.zeros);
  return out;
}

void DequantizeRows(const QuantizedTensor& tensor, int64_t row_begin, int64_t row_end, std::span<float> out) {
  CHECK(0 <= row_begin && row_begin <= row_end && row_end <= tensor.rows);
  CHECK_EQ(static_cast<int64_t>(out.size()), (row_end - row_begin) * tensor.columns);
  const int64_t groups = tensor.scales.groups;
  const bool reordered = tensor.quantization.reordered;
  std::vector<float> stored(reordered ? static_cast<size_t>(tensor.columns) : 0);
  for (int64_t row = row_begin; row < row_end; ++row) {
    float* values = out.data() + (row - row_begin) * tensor.columns;
    const uint8_t* zeros = tensor.quantization.has_zeros ? tensor.scales.zeros.data() + row * groups : nullptr;
    DequantizeRow(tensor.quantization, tensor.columns,
                  tensor.codes.data() + row * tensor.quantization.CodeBytes(tensor.columns),
                  tensor.scales.values.data() + row * groups, zeros, reordered ? stored.data() : values);
    for (size_t c = 0; c < stored.size(); ++c) values[tensor.order[c]] = stored[c];
  }
}

}  // namespace switchyard
