#include "kernels/cpu/packed_weights.h"

#include <utility>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/quantized_matrix.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Matrix>> CreatePackedMatrix(const MatrixSpec& spec, HostAllocator allocate) {
  if (spec.quantization.is_dense()) return PackedMatrix::Create(spec, allocate);
  return QuantizedMatrix::Create(spec, allocate);
}

void UnpackRow(const Matrix& matrix, int64_t row, float* out) {
  if (matrix.spec().quantization.is_dense()) {
    PackedMatrix::From(matrix).UnpackRow(row, out);
  } else {
    QuantizedMatrix::From(matrix).UnpackRow(row, out);
  }
}

absl::StatusOr<std::unique_ptr<PackedExpertWeights>> PackedExpertWeights::Create(const ExpertWeightsSpec& spec) {
  std::unique_ptr<PackedExpertWeights> experts(new PackedExpertWeights(spec));
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    auto gate_up = CreatePackedMatrix(spec.gate_up_spec());
    if (!gate_up.ok()) return gate_up.status();
    auto down = CreatePackedMatrix(spec.down_spec());
    if (!down.ok()) return down.status();
    experts->gate_up_.push_back(*std::move(gate_up));
    experts->down_.push_back(*std::move(down));
  }
  return experts;
}

}  // namespace switchyard
