#include "kernels/cpu/host_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/float_convert.h"

namespace switchyard {

absl::Status ValidateMatrixSpec(const MatrixSpec& spec) {
  const bool is_float =
      spec.dtype == DType::kBFloat16 || spec.dtype == DType::kFloat16 || spec.dtype == DType::kFloat32;
  if (is_float && spec.out_features >= 0 && spec.in_features >= 0) {
    return ValidateQuantization(spec.quantization, spec.in_features);
  }
  return absl::InvalidArgumentError(absl::StrCat("no weight matrix [", spec.out_features, ", ", spec.in_features,
                                                 "] of ", Name(spec.dtype), ": BF16, F16 and F32 can be multiplied"));
}

absl::Status ValidateRows(const MatrixSpec& spec, int64_t row_begin, ConstTensorView rows) {
  const bool fits = rows.shape().rank() == 2 && rows.dim(1) == spec.in_features && row_begin >= 0 &&
                    row_begin + rows.dim(0) <= spec.out_features && rows.dtype() == spec.dtype &&
                    spec.quantization.is_dense();
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rows ", rows.shape().ToString(), " of ", Name(rows.dtype()),
                                                 " at row ", row_begin, " do not fit the ", Name(spec.dtype),
                                                 " matrix [", spec.out_features, ", ", spec.in_features, "]"));
}

absl::Status ValidateCodes(const MatrixSpec& spec, int64_t row_begin, ConstTensorView codes) {
  const Quantization& quantization = spec.quantization;
  const bool fits = !quantization.is_dense() && codes.shape().rank() == 2 && codes.dtype() == DType::kUInt8 &&
                    codes.dim(1) == quantization.CodeBytes(spec.in_features) && row_begin >= 0 &&
                    row_begin + codes.dim(0) <= spec.out_features;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("codes ", codes.shape().ToString(), " at row ", row_begin,
                                                 " do not fit the matrix [", spec.out_features, ", ", spec.in_features,
                                                 "], ", Describe(quantization)));
}

absl::Status ValidateScales(const MatrixSpec& spec, int64_t row_begin, const GroupScales& scales) {
  const Quantization& quantization = spec.quantization;
  const int64_t groups = quantization.is_dense() ? 0 : quantization.NumGroups(spec.in_features);
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  const int64_t expected = scales.num_rows * groups;
  const int64_t nested_rows = quantization.double_quantized ? scales.num_rows : 0;
  const bool fits = !quantization.is_dense() && row_begin >= 0 && row_begin + scales.num_rows <= spec.out_features &&
                    count(scales.values) == expected &&
                    count(scales.zeros) == (quantization.has_zeros ? expected : 0) &&
                    count(scales.nested.codes) == nested_rows * groups &&
                    count(scales.nested.scales) == nested_rows * NumNestedScales(groups) &&
                    count(scales.nested.change) == nested_rows && count(scales.nested.offsets) == nested_rows;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("scales of ", scales.num_rows, " rows at row ", row_begin,
                                                 " do not fit the matrix [", spec.out_features, ", ", spec.in_features,
                                                 "], ", Describe(quantization)));
}

absl::Status ValidateColumnOrder(const MatrixSpec& spec, std::span<const int32_t> order) {
  std::vector<bool> seen(static_cast<size_t>(spec.in_features));
  bool fits = spec.quantization.reordered && order.size() == seen.size();
  for (size_t i = 0; fits && i < order.size(); ++i) {
    fits = order[i] >= 0 && order[i] < spec.in_features && !seen[static_cast<size_t>(order[i])];
    if (fits) seen[static_cast<size_t>(order[i])] = true;
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a column order of ", order.size(),
                                                 " is no permutation for the matrix [", spec.out_features, ", ",
                                                 spec.in_features, "], ", Describe(spec.quantization)));
}

void ConvertToFloat(const void* in, DType dtype, int64_t count, float* out) {
  if (dtype == DType::kFloat32) {
    std::memcpy(out, in, count * sizeof(float));
    return;
  }
  const auto* bits = static_cast<const uint16_t*>(in);
  if (dtype == DType::kBFloat16) {
    for (int64_t i = 0; i < count; ++i) out[i] = FloatFromBFloat16(bits[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = FloatFromFloat16(bits[i]);
  }
}

absl::StatusOr<std::unique_ptr<HostMatrix>> HostMatrix::Create(const MatrixSpec& spec, HostAllocator allocator) {
  if (absl::Status valid = ValidateMatrixSpec(spec); !valid.ok()) return valid;
  const Quantization& quantization = spec.quantization;
  std::unique_ptr<HostMatrix> matrix(new HostMatrix(spec));
  const auto allocate = [allocator](int64_t bytes, Buffer& buffer) {
    absl::StatusOr<Buffer> allocated = allocator(static_cast<size_t>(bytes));
    if (!allocated.ok()) return allocated.status();
    buffer = *std::move(allocated);
    return absl::OkStatus();
  };
  absl::Status status;
  if (quantization.is_dense()) {
    status = allocate(spec.out_features * spec.in_features * static_cast<int64_t>(SizeOf(spec.dtype)), matrix->buffer_);
  } else {
    const int64_t groups = spec.out_features * quantization.NumGroups(spec.in_features);
    status = allocate(spec.out_features * quantization.CodeBytes(spec.in_features), matrix->buffer_);
    if (status.ok()) status = allocate(groups * static_cast<int64_t>(sizeof(float)), matrix->scales_);
    if (status.ok() && quantization.has_zeros) status = allocate(groups, matrix->zeros_);
    if (status.ok() && quantization.reordered) {
      status = allocate(spec.in_features * static_cast<int64_t>(sizeof(int32_t)), matrix->order_);
    }
  }
  if (!status.ok()) return status;
  return matrix;
}

namespace {

// Copies `values` to element `begin` of `buffer`.
template <typename T>
void CopyTo(std::span<const T> values, int64_t begin, const Buffer& buffer) {
  std::copy(values.begin(), values.end(), static_cast<T*>(buffer.data()) + begin);
}

}  // namespace

absl::Status HostMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  if (absl::Status valid = ValidateRows(spec_, row_begin, rows); !valid.ok()) return valid;
  const size_t offset = static_cast<size_t>(row_begin * spec_.in_features) * SizeOf(spec_.dtype);
  if (rows.bytes() != 0) std::memcpy(static_cast<std::byte*>(buffer_.data()) + offset, rows.data(), rows.bytes());
  return absl::OkStatus();
}

absl::Status HostMatrix::FillCodes(int64_t row_begin, ConstTensorView codes) {
  if (absl::Status valid = ValidateCodes(spec_, row_begin, codes); !valid.ok()) return valid;
  CopyTo(codes.As<uint8_t>(), row_begin * spec_.quantization.CodeBytes(spec_.in_features), buffer_);
  return absl::OkStatus();
}

absl::Status HostMatrix::FillScales(int64_t row_begin, const GroupScales& scales) {
  if (absl::Status valid = ValidateScales(spec_, row_begin, scales); !valid.ok()) return valid;
  const int64_t begin = row_begin * spec_.quantization.NumGroups(spec_.in_features);
  CopyTo(scales.values, begin, scales_);
  if (spec_.quantization.has_zeros) CopyTo(scales.zeros, begin, zeros_);
  return absl::OkStatus();
}

absl::Status HostMatrix::FillColumnOrder(std::span<const int32_t> order) {
  if (absl::Status valid = ValidateColumnOrder(spec_, order); !valid.ok()) return valid;
  CopyTo(order, 0, order_);
  return absl::OkStatus();
}

void HostMatrix::ConvertRow(int64_t row, float* out) const {
  const Quantization& quantization = spec_.quantization;
  const int64_t columns = spec_.in_features;
  const auto* data = static_cast<const uint8_t*>(buffer_.data());
  if (quantization.is_dense()) {
    ConvertToFloat(data + static_cast<size_t>(row * columns) * SizeOf(spec_.dtype), spec_.dtype, columns, out);
    return;
  }
  const int64_t groups = quantization.NumGroups(columns);
  const uint8_t* zeros = quantization.has_zeros ? static_cast<const uint8_t*>(zeros_.data()) + row * groups : nullptr;
  DequantizeRow(quantization, columns, data + row * quantization.CodeBytes(columns),
                static_cast<const float*>(scales_.data()) + row * groups, zeros, out);
  if (!quantization.reordered) return;
  const std::vector<float> stored(out, out + columns);
  const auto* order = static_cast<const int32_t*>(order_.data());
  for (int64_t c = 0; c < columns; ++c) out[order[c]] = stored[static_cast<size_t>(c)];
}

absl::StatusOr<std::unique_ptr<Matrix>> CreateHostMatrix(const MatrixSpec& spec, HostAllocator allocate) {
  return HostMatrix::Create(spec, allocate);
}

absl::StatusOr<std::unique_ptr<HostExpertWeights>> HostExpertWeights::Create(const ExpertWeightsSpec& spec) {
  std::unique_ptr<HostExpertWeights> experts(new HostExpertWeights(spec));
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    auto gate_up = HostMatrix::Create(spec.gate_up_spec());
    if (!gate_up.ok()) return gate_up.status();
    auto down = HostMatrix::Create(spec.down_spec());
    if (!down.ok()) return down.status();
    experts->gate_up_.push_back(*std::move(gate_up));
    experts->down_.push_back(*std::move(down));
  }
  return experts;
}

}  // namespace switchyard
