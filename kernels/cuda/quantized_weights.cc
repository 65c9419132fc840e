#include "kernels/cuda/quantized_weights.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/host_weights.h"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/quantized_columns.h"
#include "kernels/cuda/status.h"

namespace switchyard::cuda {
namespace {

absl::Status Validate(const MatrixSpec& spec) {
  absl::Status valid = ValidateMatrixSpec(spec);
  if (!valid.ok() || spec.in_features % 8 == 0) return valid;
  return absl::InvalidArgumentError(absl::StrCat("the matrix [", spec.out_features, ", ", spec.in_features, "], ",
                                                 Describe(spec.quantization),
                                                 ": on a GPU rows must be a multiple of 8 wide"));
}

// The allocation of `num_matrices`, its table filled.
absl::StatusOr<Buffer> AllocateMatrices(const MatrixSpec& spec, int64_t num_matrices, const WeightContext& context) {
  absl::StatusOr<Buffer> buffer =
      context.arena.Allocate(QuantizedBytes(spec.quantization, spec.out_features, spec.in_features, num_matrices));
  if (!buffer.ok() || num_matrices == 0) return buffer;
  const QuantizedMatrix view =
      ViewQuantized(spec.quantization, spec.out_features, spec.in_features, num_matrices, buffer->data());
  if (view.dynamic_map == nullptr) return buffer;
  const std::span<const float, 256> map = DynamicMap();
  absl::Status status = context.copies.Copy(map.data(), map.size_bytes(), const_cast<float*>(view.dynamic_map));
  if (!status.ok()) return status;
  return buffer;
}

// Rows of `groups` values, each followed by zeros up to `stride`.
template <typename T, typename From, typename Convert>
std::vector<T> PadRows(std::span<const From> values, int64_t rows, int64_t groups, int64_t stride, Convert&& convert) {
  std::vector<T> padded(static_cast<size_t>(rows * stride));
  for (int64_t row = 0; row < rows; ++row) {
    const auto of_row = values.subspan(static_cast<size_t>(row * groups), static_cast<size_t>(groups));
    std::transform(of_row.begin(), of_row.end(), padded.begin() + row * stride, convert);
  }
  return padded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<QuantizedDeviceMatrix>> QuantizedDeviceMatrix::Create(const MatrixSpec& spec,
                                                                                     const WeightContext& context) {
  absl::Status valid = Validate(spec);
  if (!valid.ok()) return valid;
  absl::StatusOr<Buffer> buffer = AllocateMatrices(spec, 1, context);
  if (!buffer.ok()) return buffer.status();
  auto matrix = std::make_unique<QuantizedDeviceMatrix>(
      spec, context, ViewQuantized(spec.quantization, spec.out_features, spec.in_features, 1, buffer->data()));
  matrix->buffer_ = *std::move(buffer);
  return matrix;
}

absl::Status QuantizedDeviceMatrix::FillCodes(int64_t row_begin, ConstTensorView codes) {
  absl::Status valid = ValidateCodes(spec_, row_begin, codes);
  if (!valid.ok()) return valid;
  const int64_t rows = codes.dim(0);
  if (rows == 0) return absl::OkStatus();
  std::vector<uint8_t> packed(static_cast<size_t>(rows * view_.row_bytes));
  const std::span<const uint8_t> from = codes.As<uint8_t>();
  for (int64_t row = 0; row < rows; ++row) {
    PackCodes(spec_.quantization, spec_.in_features, from.data() + row * codes.dim(1),
              packed.data() + row * view_.row_bytes);
  }
  return CopyToWeight(context_, packed.data(), packed.size(),
                      const_cast<uint8_t*>(view_.codes) + row_begin * view_.row_bytes);
}

absl::Status QuantizedDeviceMatrix::FillScales(int64_t row_begin, const GroupScales& scales) {
  absl::Status status = ValidateScales(spec_, row_begin, scales);
  const int64_t rows = scales.num_rows;
  if (!status.ok() || rows == 0) return status;
  const int64_t groups = spec_.quantization.NumGroups(spec_.in_features);
  // `values` [rows, stride] to those rows of a part of the matrix.
  const auto copy = [&](const auto& values, const void* part, int64_t stride) {
    if (!status.ok() || values.empty()) return;
    using T = typename std::decay_t<decltype(values)>::value_type;
    auto* to = const_cast<T*>(static_cast<const T*>(part)) + row_begin * stride;
    status = CopyToWeight(context_, values.data(), values.size() * sizeof(T), to);
  };
  const auto same = [](auto value) { return value; };
  if (spec_.quantization.double_quantized) {
    const NestedScales& nested = scales.nested;
    copy(PadRows<uint8_t>(nested.codes, rows, groups, view_.groups, same), view_.scales, view_.groups);
    copy(nested.scales, view_.nested_scale, view_.nested_scales);
    copy(nested.offsets, view_.nested_offset, 1);
    copy(nested.change, view_.nested_change, 1);
  } else if (spec_.quantization.format == WeightFormat::kNf4) {
    copy(PadRows<float>(scales.values, rows, groups, view_.groups, same), view_.scales, view_.groups);
  } else {
    copy(PadRows<uint16_t>(scales.values, rows, groups, view_.groups, Float16FromFloat), view_.scales, view_.groups);
  }
  if (spec_.quantization.has_zeros) {
    copy(PadRows<uint8_t>(scales.zeros, rows, groups, view_.groups, same), view_.zeros, view_.groups);
  }
  return status;
}

absl::Status QuantizedDeviceMatrix::FillColumnOrder(std::span<const int32_t> order) {
  absl::Status valid = ValidateColumnOrder(spec_, order);
  if (!valid.ok()) return valid;
  std::vector<int32_t> place(order.size());
  for (size_t column = 0; column < order.size(); ++column) {
    place[static_cast<size_t>(order[column])] = static_cast<int32_t>(column);
  }
  return CopyToWeight(context_, place.data(), place.size() * sizeof(int32_t), const_cast<int32_t*>(view_.column_place));
}

absl::Status QuantizedDeviceMatrix::FillRandom(uint64_t seed, float deviation) {
  if (spec_.quantization.reordered) {
    std::vector<int32_t> identity(static_cast<size_t>(spec_.in_features));
    std::iota(identity.begin(), identity.end(), 0);
    absl::Status status = FillColumnOrder(identity);
    if (!status.ok()) return status;
  }
  FillRandomQuantized(view_, 1, seed, deviation, context_.stream);
  return ToStatus(TakeLaunchFailure(), "random weights");
}

absl::StatusOr<std::unique_ptr<QuantizedDeviceExperts>> QuantizedDeviceExperts::Create(const ExpertWeightsSpec& spec,
                                                                                       const WeightContext& context) {
  for (const MatrixSpec& matrix : {spec.gate_up_spec(), spec.down_spec()}) {
    absl::Status valid = Validate(matrix);
    if (!valid.ok()) return valid;
    if (matrix.quantization.is_dense()) {
      return absl::InvalidArgumentError("either all projections of the experts are quantised or none");
    }
  }
  absl::StatusOr<Buffer> gate_up = AllocateMatrices(spec.gate_up_spec(), spec.num_experts, context);
  if (!gate_up.ok()) return gate_up.status();
  absl::StatusOr<Buffer> down = AllocateMatrices(spec.down_spec(), spec.num_experts, context);
  if (!down.ok()) return down.status();
  return std::unique_ptr<QuantizedDeviceExperts>(
      new QuantizedDeviceExperts(spec, context, *std::move(gate_up), *std::move(down)));
}

QuantizedDeviceExperts::QuantizedDeviceExperts(const ExpertWeightsSpec& spec, const WeightContext& context,
                                               Buffer gate_up, Buffer down)
    : spec_(spec),
      gate_up_buffer_(std::move(gate_up)),
      down_buffer_(std::move(down)),
      gate_up_view_(ViewQuantized(spec.gate_up, 2 * spec.intermediate_size, spec.hidden_size, spec.num_experts,
                                  gate_up_buffer_.data())),
      down_view_(
          ViewQuantized(spec.down, spec.hidden_size, spec.intermediate_size, spec.num_experts, down_buffer_.data())) {
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    gate_up_.push_back(
        std::make_unique<QuantizedDeviceMatrix>(spec.gate_up_spec(), context, NthMatrix(gate_up_view_, e)));
    down_.push_back(std::make_unique<QuantizedDeviceMatrix>(spec.down_spec(), context, NthMatrix(down_view_, e)));
  }
}

}  // namespace switchyard::cuda
