#include "tests/engine/checkpoint/fake_backend.h"

#include <algorithm>
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
      gate_up_.push_back(std::make_unique<FakeMatrix>(spec.gate_up_spec(), fills_left));
      down_.push_back(std::make_unique<FakeMatrix>(spec.down_spec(), fills_left));
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
      row_filled_(static_cast<size_t>(spec.out_features)),
      scales_filled_(row_filled_.size()) {
  const Quantization& quantization = spec.quantization;
  if (quantization.is_dense()) return;
  CHECK(ValidateQuantization(quantization, spec.in_features).ok());
  quantized_ = {.quantization = quantization, .rows = spec.out_features, .columns = spec.in_features};
  quantized_.codes.resize(static_cast<size_t>(spec.out_features * quantization.CodeBytes(spec.in_features)));
  ScaleArrays& scales = quantized_.scales;
  scales.rows = spec.out_features;
  scales.groups = quantization.NumGroups(spec.in_features);
  const auto count = static_cast<size_t>(scales.rows * scales.groups);
  scales.values.resize(count);
  if (quantization.has_zeros) scales.zeros.resize(count);
  if (!quantization.double_quantized) return;
  scales.nested_codes.resize(count);
  scales.nested_scales.resize(static_cast<size_t>(scales.rows * NumNestedScales(scales.groups)));
  scales.nested_change.resize(static_cast<size_t>(scales.rows));
  scales.nested_offsets.resize(static_cast<size_t>(scales.rows));
}

absl::Status FakeMatrix::TakeFill() {
  if (fills_left_->fetch_sub(1) > 0) return absl::OkStatus();
  return absl::InternalError("the device has fallen off the bus");
}

absl::Status FakeMatrix::Fill(int64_t row_begin, ConstTensorView rows) {
  CHECK(spec_.quantization.is_dense());
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

absl::Status FakeMatrix::FillCodes(int64_t row_begin, ConstTensorView codes) {
  CHECK(!spec_.quantization.is_dense());
  CHECK(codes.dtype() == DType::kUInt8);
  CHECK_EQ(codes.dim(1), spec_.quantization.CodeBytes(spec_.in_features));
  CHECK_LE(row_begin + codes.dim(0), spec_.out_features);
  if (absl::Status taken = TakeFill(); !taken.ok()) return taken;
  std::memcpy(quantized_.codes.data() + row_begin * codes.dim(1), codes.data(), codes.bytes());
  for (int64_t row = row_begin; row < row_begin + codes.dim(0); ++row) {
    CHECK(!row_filled_[static_cast<size_t>(row)].exchange(true));
  }
  Dequantize(row_begin, codes.dim(0));
  return absl::OkStatus();
}

absl::Status FakeMatrix::FillScales(int64_t row_begin, const GroupScales& scales) {
  CHECK(!spec_.quantization.is_dense());
  CHECK_LE(row_begin + scales.num_rows, spec_.out_features);
  if (absl::Status taken = TakeFill(); !taken.ok()) return taken;
  ScaleArrays& to = quantized_.scales;
  const auto copy = [&](auto from, auto& all, int64_t width) {
    CHECK_EQ(static_cast<int64_t>(from.size()), all.empty() ? 0 : scales.num_rows * width);
    std::copy(from.begin(), from.end(), all.begin() + row_begin * width);
  };
  copy(scales.values, to.values, to.groups);
  copy(scales.zeros, to.zeros, to.groups);
  copy(scales.nested.codes, to.nested_codes, to.groups);
  copy(scales.nested.scales, to.nested_scales, NumNestedScales(to.groups));
  copy(scales.nested.change, to.nested_change, 1);
  copy(scales.nested.offsets, to.nested_offsets, 1);
  for (int64_t row = row_begin; row < row_begin + scales.num_rows; ++row) {
    CHECK(!scales_filled_[static_cast<size_t>(row)].exchange(true));
  }
  Dequantize(row_begin, scales.num_rows);
  return absl::OkStatus();
}

absl::Status FakeMatrix::FillColumnOrder(std::span<const int32_t> order) {
  CHECK(spec_.quantization.reordered);
  CHECK_EQ(static_cast<int64_t>(order.size()), spec_.in_features);
  CHECK(!order_filled_.exchange(true));
  if (absl::Status taken = TakeFill(); !taken.ok()) return taken;
  quantized_.order.assign(order.begin(), order.end());
  return absl::OkStatus();
}

// Codes and scales of a row may come from two threads at the same time: the second to come finds both.
void FakeMatrix::Dequantize(int64_t row_begin, int64_t num_rows) {
  CHECK(!spec_.quantization.reordered || order_filled_);
  for (int64_t row = row_begin; row < row_begin + num_rows; ++row) {
    if (!row_filled_[static_cast<size_t>(row)] || !scales_filled_[static_cast<size_t>(row)]) continue;
    DequantizeRows(quantized_, row, row + 1,
                   std::span(values_).subspan(static_cast<size_t>(row * spec_.in_features),
                                              static_cast<size_t>(spec_.in_features)));
  }
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
