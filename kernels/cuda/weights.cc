#include "kernels/cuda/weights.h"

#include <cstring>
#include <utility>

#include "kernels/cpu/host_weights.h"
#include "kernels/cuda/fill.h"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/round_rows.h"
#include "kernels/cuda/status.h"

namespace switchyard::cuda {

absl::Status CopyToWeight(const WeightContext& context, const void* from, size_t bytes, void* to) {
  if (!context.is_pinned) return context.copies.Copy(from, bytes, to);
  std::memcpy(to, from, bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DeviceMatrix>> DeviceMatrix::Create(const MatrixSpec& spec,
                                                                   const WeightContext& context) {
  absl::Status valid = ValidateMatrixSpec(spec);
  if (!valid.ok()) return valid;
  absl::StatusOr<Buffer> buffer = context.arena.Allocate(MatrixBytes(spec, context.stored));
  if (!buffer.ok()) return buffer.status();
  auto matrix = std::make_unique<DeviceMatrix>(spec, context, buffer->data());
  matrix->buffer_ = *std::move(buffer);
  return matrix;
}

size_t DeviceMatrix::bytes() const { return MatrixBytes(spec_, context_.stored); }

absl::Status DeviceMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  absl::Status valid = ValidateRows(spec_, row_begin, rows);
  if (!valid.ok()) return valid;
  if (rows.num_elements() == 0) return absl::OkStatus();
  const size_t row_bytes = static_cast<size_t>(spec_.in_features) * SizeOf(context_.stored);
  auto* to = static_cast<std::byte*>(data_) + static_cast<size_t>(row_begin) * row_bytes;
  const size_t bytes = static_cast<size_t>(rows.dim(0)) * row_bytes;
  if (rows.dtype() == context_.stored) return CopyToWeight(context_, rows.data(), bytes, to);
  return CopyToWeight(context_, RoundRows(rows, context_.stored).data(), bytes, to);
}

absl::Status DeviceMatrix::FillRandom(uint64_t seed, float deviation) {
  const int64_t elements = spec_.out_features * spec_.in_features;
  if (elements > 0) cuda::FillRandom(context_.stored, data_, elements, seed, deviation, context_.stream);
  return ToStatus(TakeLaunchFailure(), "random weights");
}

absl::StatusOr<std::unique_ptr<DeviceExpertWeights>> DeviceExpertWeights::Create(const ExpertWeightsSpec& spec,
                                                                                 const WeightContext& context) {
  absl::Status valid = ValidateMatrixSpec(
      {.out_features = spec.intermediate_size, .in_features = spec.hidden_size, .dtype = spec.dtype});
  if (!valid.ok()) return valid;
  const ExpertLayout layout = MakeExpertLayout(spec, context.stored);
  absl::StatusOr<Buffer> gate_up = context.arena.Allocate(layout.gate_up_bytes);
  if (!gate_up.ok()) return gate_up.status();
  absl::StatusOr<Buffer> down = context.arena.Allocate(layout.down_bytes);
  if (!down.ok()) return down.status();
  return std::unique_ptr<DeviceExpertWeights>(
      new DeviceExpertWeights(spec, context, *std::move(gate_up), *std::move(down)));
}

DeviceExpertWeights::DeviceExpertWeights(const ExpertWeightsSpec& spec, const WeightContext& context, Buffer gate_up,
                                         Buffer down)
    : spec_(spec), gate_up_buffer_(std::move(gate_up)), down_buffer_(std::move(down)) {
  const ExpertLayout layout = MakeExpertLayout(spec, context.stored);
  auto* gate_up_data = static_cast<std::byte*>(gate_up_buffer_.data());
  auto* down_data = static_cast<std::byte*>(down_buffer_.data());
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    gate_up_.push_back(std::make_unique<DeviceMatrix>(spec.gate_up_spec(), context, gate_up_data));
    down_.push_back(std::make_unique<DeviceMatrix>(spec.down_spec(), context, down_data));
    gate_up_data += layout.gate_up_expert_bytes;
    down_data += layout.down_expert_bytes;
  }
}

}  // namespace switchyard::cuda
