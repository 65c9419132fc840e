#include "tests/engine/checkpoint/fake_backend.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/element_conversion.h"

namespace switchyard {
namespace {

class FakeExperts : public ExpertWeights {
 public:
  explicit FakeExperts(const ExpertWeightsSpec& spec) : spec_(spec) {
    for (int64_t i = 0; i < spec.num_experts; ++i) {
      gate_up_.push_back(std::make_unique<FakeMatrix>(MatrixSpec{
          .out_features = 2 * spec.intermediate_size, .in_features = spec.hidden_size, .dtype = spec.dtype}));
      down_.push_back(std::make_unique<FakeMatrix>(
          MatrixSpec{.out_features = spec.hidden_size, .in_features = spec.intermediate_size, .dtype = spec.dtype}));
    }
  }

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(static_cast<size_t>(local_expert)); }
  Matrix& down(int64_t local_expert) override { return *down_.at(static_cast<size_t>(local_expert)); }

 private:
  const ExpertWeightsSpec spec_;
  std::vector<std::unique_ptr<FakeMatrix>> gate_up_;
  std::vector<std::unique_ptr<FakeMatrix>> down_;
};

}  // namespace

FakeMatrix::FakeMatrix(const MatrixSpec& spec)
    : spec_(spec), values_(static_cast<size_t>(spec.out_features * spec.in_features), std::nanf("")) {}

absl::Status FakeMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  CHECK(rows.dtype() == spec_.dtype);
  CHECK_EQ(rows.dim(1), spec_.in_features);
  CHECK_LE(row_begin + rows.dim(0), spec_.out_features);
  const std::span<float> to = std::span(values_).subspan(static_cast<size_t>(row_begin * spec_.in_features),
                                                         static_cast<size_t>(rows.num_elements()));
  WidenToFloat(rows.dtype(), static_cast<const std::byte*>(rows.data()), to);
  rows_filled_ += rows.dim(0);
  return absl::OkStatus();
}

const std::vector<float>& ValuesOf(const Matrix& matrix) { return dynamic_cast<const FakeMatrix&>(matrix).values(); }

std::vector<float> ValuesOf(const Tensor& tensor) {
  const auto values = tensor.view().As<float>();
  return {values.begin(), values.end()};
}

absl::Status FakeBackend::TakeAllocation(size_t bytes) {
  if (allocations_left_-- > 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("no room for ", bytes, " bytes"));
}

absl::StatusOr<Buffer> FakeBackend::Allocate(size_t bytes) {
  const absl::Status status = TakeAllocation(bytes);
  if (!status.ok()) return status;
  return Buffer(std::calloc(bytes, 1), bytes, [](void* data) { std::free(data); });
}

absl::Status FakeBackend::CopyFromHost(ConstTensorView host, TensorView device) {
  CHECK_EQ(host.bytes(), device.bytes());
  std::memcpy(device.data(), host.data(), host.bytes());
  return absl::OkStatus();
}

absl::Status FakeBackend::CopyToHost(ConstTensorView device, TensorView host) { return CopyFromHost(device, host); }

absl::StatusOr<std::unique_ptr<Matrix>> FakeBackend::CreateMatrix(const MatrixSpec& spec) {
  const absl::Status status = TakeAllocation(static_cast<size_t>(spec.out_features * spec.in_features));
  if (!status.ok()) return status;
  return std::make_unique<FakeMatrix>(spec);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> FakeBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  const absl::Status status = TakeAllocation(static_cast<size_t>(spec.num_experts));
  if (!status.ok()) return status;
  return std::make_unique<FakeExperts>(spec);
}

}  // namespace switchyard
