#include "engine/checkpoint/writer/weight_source.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/element_conversion.h"
#include "engine/checkpoint/load_blocks.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/quantization/quantize.h"

namespace switchyard {
namespace {

absl::Status Describe(const RandomAccessFile& file, const TensorLocation& tensor, const absl::Status& status) {
  const absl::string_view what = absl::StripPrefix(status.message(), absl::StrCat(file.path(), ": "));
  return absl::Status(status.code(), absl::StrCat(file.path(), ": tensor ", QuoteName(tensor.name), ": ", what));
}

// Rows [row_begin, row_begin + rows.size() / row_bytes).
absl::Status QuantizeRows(const TensorLocation& tensor, const QuantizationRecipe& recipe, int64_t row_begin,
                          std::span<const std::byte> rows, QuantizedTensor& out) {
  const int64_t count = static_cast<int64_t>(rows.size()) / tensor.row_bytes();
  const int64_t code_bytes = recipe.stored.CodeBytes(tensor.columns());
  std::vector<float> values(static_cast<size_t>(tensor.columns()));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = row_begin + i;
    WidenToFloat(tensor.dtype, rows.data() + i * tensor.row_bytes(), values);
    uint8_t* const zeros = recipe.stored.has_zeros ? out.scales.zeros.data() + row * out.scales.groups : nullptr;
    absl::Status status = QuantizeRow(recipe, values, out.codes.data() + row * code_bytes,
                                      out.scales.values.data() + row * out.scales.groups, zeros);
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat("row ", row, ": ", status.message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QuantizedTensor> QuantizeTensor(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                               const TensorLocation& tensor, const QuantizationRecipe& recipe) {
  const RandomAccessFile& file = *files[tensor.file];
  const int64_t groups = recipe.stored.NumGroups(tensor.columns());
  const auto num_scales = static_cast<size_t>(tensor.rows() * groups);
  QuantizedTensor out{.quantization = recipe.stored, .rows = tensor.rows(), .columns = tensor.columns()};
  out.codes.resize(static_cast<size_t>(tensor.rows() * recipe.stored.CodeBytes(tensor.columns())));
  out.scales.rows = tensor.rows();
  out.scales.groups = groups;
  out.scales.values.resize(num_scales);
  if (recipe.stored.has_zeros) out.scales.zeros.resize(num_scales);
  const int64_t most_rows = RowsOfBlock(tensor, kLoadBlockBytes);
  std::vector<std::byte> block;
  for (int64_t row = 0; row < tensor.rows(); row += most_rows) {
    const int64_t count = std::min(most_rows, tensor.rows() - row);
    block.resize(static_cast<size_t>(count * tensor.row_bytes()));
    absl::Status status = file.ReadAt(tensor.begin + row * tensor.row_bytes(), block);
    if (status.ok()) status = QuantizeRows(tensor, recipe, row, block, out);
    if (!status.ok()) return Describe(file, tensor, status);
  }
  if (recipe.stored.double_quantized) DoubleQuantize(out.scales);
  return out;
}

absl::StatusOr<std::vector<std::byte>> ReadTensor(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                                  const TensorLocation& tensor, int64_t bytes) {
  const RandomAccessFile& file = *files[tensor.file];
  std::vector<std::byte> out(static_cast<size_t>(bytes));
  const absl::Status status = file.ReadAt(tensor.begin, out);
  if (!status.ok()) return Describe(file, tensor, status);
  return out;
}

}  // namespace switchyard
