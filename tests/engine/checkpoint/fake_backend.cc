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
  FakeExperts(const ExpertWeightsSpec& spec, const FillBudget& fills_left) : spec_(spec) {
    for (int64_t i = 0; i < spec.num_experts; ++i) {
      gate_up_.push_back(std::make_unique<FakeMatrix>(
          MatrixSpec{.out_features = 2 * spec.intermediate_size, .in_features = spec.hidden_size, .dtype = spec.dtype},
          fills_left));
      down_.push_back(std::make_unique<FakeMatrix>(
          MatrixSpec{.out_features = spec.hidden_size, .in_features = spec.intermediate_size, .dtype = spec.dtype},
          fills_left));
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

FakeMatrix::FakeMatrix(const MatrixSpec& spec, FillBudget fills_left)
    : spec_(spec),
      fills_left_(std::move(fills_left)),
      values_(static_cast<size_t>(spec.out_features * spec.in_features), std::nanf("")),
      row_filled_(static_cast<size_t>(spec.out_features)) {}

absl::Status FakeMatrix::TakeFill() {
  if (fills_left_->fetch_sub(1) > 0) return absl::OkStatus();
  return absl::InternalError("the device has fallen off the bus");
}

absl::Status FakeMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  CHECK(rows.dtype() == spec_.dtype);
  CHECK_EQ(rows.dim(1), spec_.in_features);
  CHECK_LE(row_begin + rows.dim(0), spec_.out_features);
  if (absl::Status taken = TakeFill(); !taken.ok()) return taken;
  for (int64_t row = row_begin; row < row_begin + rows.dim(0); ++row) {
    CHECK(!row_filled_[static_cast<size_t>(row)].exchange(true));
  }
  const std::span<float> to = std::span(values_).subspan(static_cast<size_t>(row_begin * spec_.in_features),
                                                         static_cast<size_t>(rows.num_elements()));
  WidenToFloat(rows.dtype(), static_cast<const std::byte*>(rows.data()), to);
  return absl::OkStatus();
}

absl::Status FakeMatrix::FillRandom(uint64_t seed, float deviation) {
  if (absl::Status taken = TakeFill(); !taken.ok()) return taken;
  uint64_t state = seed;
  for (float& value : values_) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<float>(state >> 40);  // 24 bits: exact in a float
  }
  deviation_ = deviation;
  return absl::OkStatus();
}

const std::vector<float>& ValuesOf(const Matrix& matrix) { return dynamic_cast<const FakeMatrix&>(matrix).values(); }

std::vector<float> ValuesOf(const Tensor& tensor) {
  const auto values = tensor.view().As<float>();
  return {values.begin(), values.end()};
}

absl::Status FakeBackend::Take(int& left, size_t bytes) {
  CheckThread();
  if (left-- > 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("no room for ", bytes, " bytes"));
}

void FakeBackend::CheckThread() {
  if (!thread_) thread_ = std::this_thread::get_id();
  CHECK(*thread_ == std::this_thread::get_id());
}

absl::StatusOr<Buffer> FakeBackend::Allocate(size_t bytes) {
  const absl::Status status = Take(limits_.allocations, bytes);
  if (!status.ok()) return status;
  return Buffer(std::calloc(bytes, 1), bytes, [](void* data) { std::free(data); });
}

absl::StatusOr<Buffer> FakeBackend::AllocateStaging(size_t bytes) {
  const absl::Status status = Take(limits_.staging_buffers, bytes);
  if (!status.ok()) return status;
  staging_bytes_ += bytes;
  return Buffer(std::malloc(bytes), bytes, [](void* data) { std::free(data); });
}

absl::Status FakeBackend::CopyFromHost(ConstTensorView host, TensorView device) {
  CHECK_EQ(host.bytes(), device.bytes());
  const absl::Status status = Take(limits_.copies, host.bytes());
  if (!status.ok()) return status;
  std::memcpy(device.data(), host.data(), host.bytes());
  return absl::OkStatus();
}

absl::Status FakeBackend::CopyToHost(ConstTensorView device, TensorView host) { return CopyFromHost(device, host); }

absl::StatusOr<std::unique_ptr<Matrix>> FakeBackend::CreateMatrix(const MatrixSpec& spec) {
  const absl::Status status = Take(limits_.allocations, static_cast<size_t>(spec.out_features * spec.in_features));
  if (!status.ok()) return status;
  return std::make_unique<FakeMatrix>(spec, fills_left_);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> FakeBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  const absl::Status status = Take(limits_.allocations, static_cast<size_t>(spec.num_experts));
  if (!status.ok()) return status;
  return std::make_unique<FakeExperts>(spec, fills_left_);
}

}  // namespace switchyard
