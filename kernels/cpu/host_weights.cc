#include "kernels/cpu/host_weights.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/host_memory.h"

namespace switchyard {

absl::Status ValidateMatrixSpec(const MatrixSpec& spec) {
  const bool is_float =
      spec.dtype == DType::kBFloat16 || spec.dtype == DType::kFloat16 || spec.dtype == DType::kFloat32;
  if (is_float && spec.out_features >= 0 && spec.in_features >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("no weight matrix [", spec.out_features, ", ", spec.in_features,
                                                 "] of ", Name(spec.dtype), ": BF16, F16 and F32 can be multiplied"));
}

absl::Status ValidateRows(const MatrixSpec& spec, int64_t row_begin, ConstTensorView rows) {
  const bool fits = rows.shape().rank() == 2 && rows.dim(1) == spec.in_features && row_begin >= 0 &&
                    row_begin + rows.dim(0) <= spec.out_features && rows.dtype() == spec.dtype;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rows ", rows.shape().ToString(), " of ", Name(rows.dtype()),
                                                 " at row ", row_begin, " do not fit the ", Name(spec.dtype),
                                                 " matrix [", spec.out_features, ", ", spec.in_features, "]"));
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

absl::StatusOr<std::unique_ptr<HostMatrix>> HostMatrix::Create(const MatrixSpec& spec) {
  if (absl::Status valid = ValidateMatrixSpec(spec); !valid.ok()) return valid;
  const size_t bytes = static_cast<size_t>(spec.out_features * spec.in_features) * SizeOf(spec.dtype);
  absl::StatusOr<Buffer> buffer = AllocateHostMemory(bytes);
  if (!buffer.ok()) return buffer.status();
  return std::unique_ptr<HostMatrix>(new HostMatrix(spec, *std::move(buffer)));
}

absl::Status HostMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  if (absl::Status valid = ValidateRows(spec_, row_begin, rows); !valid.ok()) return valid;
  const size_t offset = static_cast<size_t>(row_begin * spec_.in_features) * SizeOf(spec_.dtype);
  if (rows.bytes() != 0) std::memcpy(static_cast<std::byte*>(buffer_.data()) + offset, rows.data(), rows.bytes());
  return absl::OkStatus();
}

void HostMatrix::ConvertRow(int64_t row, float* out) const {
  const size_t offset = static_cast<size_t>(row * spec_.in_features) * SizeOf(spec_.dtype);
  ConvertToFloat(static_cast<const std::byte*>(buffer_.data()) + offset, spec_.dtype, spec_.in_features, out);
}

absl::StatusOr<std::unique_ptr<HostExpertWeights>> HostExpertWeights::Create(const ExpertWeightsSpec& spec) {
  std::unique_ptr<HostExpertWeights> experts(new HostExpertWeights(spec));
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    auto gate_up = HostMatrix::Create({2 * spec.intermediate_size, spec.hidden_size, spec.dtype});
    if (!gate_up.ok()) return gate_up.status();
    auto down = HostMatrix::Create({spec.hidden_size, spec.intermediate_size, spec.dtype});
    if (!down.ok()) return down.status();
    experts->gate_up_.push_back(*std::move(gate_up));
    experts->down_.push_back(*std::move(down));
  }
  return experts;
}

}  // namespace switchyard
