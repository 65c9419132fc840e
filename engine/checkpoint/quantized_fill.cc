#include "engine/checkpoint/quantized_fill.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/element_conversion.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/quantization/quantize.h"

namespace switchyard {
namespace {

// Rows that are dequantised at once.
constexpr int64_t kDequantizedRows = 64;

// A tensor of `rows` rows, or their scales alone.
QuantizedTensor Unfilled(const Quantization& quantization, int64_t rows, int64_t columns, bool with_codes) {
  QuantizedTensor tensor{.quantization = quantization, .rows = rows, .columns = columns};
  const int64_t groups = quantization.NumGroups(columns);
  if (with_codes) tensor.codes.resize(static_cast<size_t>(rows * quantization.CodeBytes(columns)));
  tensor.scales.rows = rows;
  tensor.scales.groups = groups;
  tensor.scales.values.resize(static_cast<size_t>(rows * groups));
  if (quantization.has_zeros) tensor.scales.zeros.resize(tensor.scales.values.size());
  return tensor;
}

// Which of the rows [row_begin, row_end) of a tensor its slice keeps, counted from row_begin.
struct KeptRows {
  int64_t begin = 0;
  int64_t end = 0;

  KeptRows(const TensorSlice& slice, int64_t row_begin, int64_t row_end)
      : begin(std::clamp(slice.row_begin, row_begin, row_end) - row_begin),
        end(std::clamp(slice.row_end, row_begin, row_end) - row_begin) {}
};

struct FilledParts {
  bool codes = true;
  bool scales = true;
};

// `tensor` holds rows from `row_begin` on, in the slice's columns and the matrix's groups already.
absl::Status FillKept(const TensorLoad& load, const QuantizedTensor& tensor, int64_t row_begin, FilledParts parts) {
  const KeptRows kept(load.slice, row_begin, row_begin + tensor.rows);
  if (kept.begin >= kept.end) return absl::OkStatus();
  const int64_t to = load.matrix_row + row_begin + kept.begin - load.slice.row_begin;
  const int64_t code_bytes = tensor.quantization.CodeBytes(tensor.columns);
  absl::Status status;
  if (parts.codes) {
    status = load.matrix->FillCodes(to, ConstTensorView(tensor.codes.data() + kept.begin * code_bytes, DType::kUInt8,
                                                        Shape{kept.end - kept.begin, code_bytes}));
  }
  if (status.ok() && parts.scales) status = load.matrix->FillScales(to, tensor.scales.Rows(kept.begin, kept.end));
  return status;
}

// The same from whole rows in the groups of the file or of the recipe.
absl::Status SliceAndFill(const TensorLoad& load, const QuantizedTensor& tensor, int64_t row_begin, FilledParts parts) {
  const int64_t group_size = load.matrix->spec().quantization.group_size;
  if (load.slice.has_all_columns() && tensor.quantization.group_size == group_size) {
    return FillKept(load, tensor, row_begin, parts);
  }
  const QuantizedTensor regrouped = Regroup(tensor, group_size);
  if (load.slice.has_all_columns()) return FillKept(load, regrouped, row_begin, parts);
  return FillKept(load, SliceColumns(regrouped, load.slice.column_begin, load.slice.column_end), row_begin, parts);
}

absl::Status FillDequantized(const TensorLoad& load, const QuantizedTensor& tensor) {
  const TensorSlice& slice = load.slice;
  const DType dtype = load.matrix->spec().dtype;
  const auto width = static_cast<size_t>(slice.num_columns());
  std::vector<float> values;
  std::vector<std::byte> rows;
  for (int64_t row = slice.row_begin; row < slice.row_end; row += kDequantizedRows) {
    const int64_t count = std::min(kDequantizedRows, slice.row_end - row);
    values.resize(static_cast<size_t>(count * tensor.columns));
    DequantizeRows(tensor, row, row + count, values);
    rows.resize(static_cast<size_t>(count) * width * SizeOf(dtype));
    for (int64_t i = 0; i < count; ++i) {
      NarrowFromFloat(dtype,
                      std::span(values).subspan(static_cast<size_t>(i * tensor.columns + slice.column_begin), width),
                      rows.data() + static_cast<size_t>(i) * width * SizeOf(dtype));
    }
    absl::Status status = load.matrix->Fill(load.matrix_row + row - slice.row_begin,
                                            ConstTensorView(rows.data(), dtype, Shape{count, slice.num_columns()}));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status QuantizedFill::FillRows(const LoadBlock& block, const std::byte* rows) {
  const TensorLoad& load = *block.load;
  const TensorLocation& tensor = block.tensor();
  const Quantization& form = load.recipe.stored;
  QuantizedTensor quantized = Unfilled(form, block.num_rows(), tensor.columns(), /*with_codes=*/true);
  // Blocks of a double-quantised tensor have no nested scales yet.
  quantized.quantization.double_quantized = false;
  ScaleArrays& scales = quantized.scales;
  std::vector<float> values(static_cast<size_t>(tensor.columns()));
  for (int64_t row = 0; row < block.num_rows(); ++row) {
    WidenToFloat(tensor.dtype, rows + row * tensor.row_bytes(), values);
    absl::Status status =
        QuantizeRow(load.recipe, values, quantized.codes.data() + row * form.CodeBytes(tensor.columns()),
                    scales.values.data() + row * scales.groups,
                    form.has_zeros ? scales.zeros.data() + row * scales.groups : nullptr);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("row ", block.row_begin + row, ": ", status.message()));
    }
  }
  absl::Status status =
      SliceAndFill(load, quantized, block.row_begin, {.codes = true, .scales = !form.double_quantized});
  return status.ok() && form.double_quantized ? AddScales(block, scales) : status;
}

std::shared_ptr<QuantizedFill::Pending> QuantizedFill::PendingOf(const TensorLoad& load) {
  const std::lock_guard lock(mu_);
  std::shared_ptr<Pending>& pending = pending_[&load];
  if (pending == nullptr) {
    const TensorLocation& tensor = *load.slice.tensor;
    pending = std::make_shared<Pending>();
    pending->scales = Unfilled(load.recipe.stored, tensor.rows(), tensor.columns(), /*with_codes=*/false);
    pending->rows_left = tensor.rows();
  }
  return pending;
}

absl::Status QuantizedFill::AddScales(const LoadBlock& block, const ScaleArrays& maxima) {
  const TensorLoad& load = *block.load;
  const std::shared_ptr<Pending> pending = PendingOf(load);
  {
    const std::lock_guard lock(pending->mu);
    std::copy(maxima.values.begin(), maxima.values.end(),
              pending->scales.scales.values.begin() + block.row_begin * maxima.groups);
    pending->rows_left -= block.num_rows();
    if (pending->rows_left > 0) return absl::OkStatus();
  }
  {
    const std::lock_guard lock(mu_);
    pending_.erase(&load);
  }
  DoubleQuantize(pending->scales.scales);
  return SliceAndFill(load, pending->scales, 0, {.codes = false, .scales = true});
}

absl::Status QuantizedFill::FillTensor(const TensorLoad& load, const QuantizedTensor& tensor) {
  if (load.matrix->spec().quantization.is_dense()) return FillDequantized(load, tensor);
  if (tensor.quantization.reordered) {
    absl::Status status = FillOrder(load, tensor.order);
    if (!status.ok()) return status;
  }
  return SliceAndFill(load, tensor, 0, {.codes = true, .scales = true});
}

absl::Status QuantizedFill::FillOrder(const TensorLoad& load, std::span<const int32_t> order) {
  const std::lock_guard lock(mu_);
  const auto [found, is_first] =
      orders_.try_emplace(load.matrix, ColumnOrder{.tensor = load.slice.tensor, .order = {order.begin(), order.end()}});
  if (is_first) return load.matrix->FillColumnOrder(order);
  if (std::equal(order.begin(), order.end(), found->second.order.begin(), found->second.order.end())) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("its columns are in another order (g_idx) than those of ", QuoteName(found->second.tensor->name),
                   ", which the same input is multiplied with: quantise the model again without act-order (desc_act), "
                   "or take another export of it"));
}

}  // namespace switchyard
