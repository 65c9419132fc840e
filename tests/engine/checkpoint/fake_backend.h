// A Backend that only keeps weights, as plain float32 or as the codes and scales they were filled with, so that loading
// is tested without any mathematics.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/backend.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Fills that may still succeed, of all matrices of a backend together.
using FillBudget = std::shared_ptr<std::atomic<int>>;

class FakeMatrix : public Matrix {
 public:
  FakeMatrix(const MatrixSpec& spec, FillBudget fills_left);

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return values_.size() * sizeof(float); }
  // A row whose values, codes or scales were filled already is a failure of the test.
  absl::Status Fill(int64_t row_begin, ConstTensorView rows) override;
  absl::Status FillCodes(int64_t row_begin, ConstTensorView codes) override;
  absl::Status FillScales(int64_t row_begin, const GroupScales& scales) override;
  absl::Status FillColumnOrder(std::span<const int32_t> order) override;
  // Numbers that differ from element to element and from seed to seed, of no particular distribution.
  absl::Status FillRandom(uint64_t seed, float deviation) override;

  // [out_features * in_features], NaN where no Fill has been; of a quantised matrix what codes and scales amount to, in
  // the order of the input features.
  const std::vector<float>& values() const { return values_; }
  // What a quantised matrix was filled with.
  const QuantizedTensor& quantized() const { return quantized_; }
  std::optional<float> deviation() const { return deviation_; }  // what FillRandom was given

 private:
  absl::Status TakeFill();
  // Of rows [row_begin, row_begin + num_rows), those that have all they need.
  void Dequantize(int64_t row_begin, int64_t num_rows);

  const MatrixSpec spec_;
  const FillBudget fills_left_;
  std::vector<float> values_;
  std::vector<std::atomic<bool>> row_filled_;  // with values or codes
  std::vector<std::atomic<bool>> scales_filled_;
  std::atomic<bool> order_filled_ = false;
  QuantizedTensor quantized_;
  std::optional<float> deviation_;
};

// The values of a matrix that a FakeBackend made.
const std::vector<float>& ValuesOf(const Matrix& matrix);
std::vector<float> ValuesOf(const Tensor& tensor);

// How often each operation of a FakeBackend succeeds before it fails as on a full or broken device.
struct FakeLimits {
  int allocations = 1'000'000;  // matrices, sets of experts and buffers together
  int staging_buffers = 1'000'000;
  int copies = 1'000'000;
  int fills = 1'000'000;
};

// Creates and fills weights; any mathematics, and a call from another thread than the first one's, is a failure of the
// test.
class FakeBackend : public Backend {
 public:
  explicit FakeBackend(const FakeLimits& limits = {})
      : limits_(limits), fills_left_(std::make_shared<std::atomic<int>>(limits.fills)) {}

  DeviceKind device() const override { return DeviceKind::kCpu; }
  std::string Description() const override { return "fake"; }
  DType activation_dtype() const override { return DType::kFloat32; }
  absl::StatusOr<Buffer> Allocate(size_t bytes) override;
  absl::Status CopyFromHost(ConstTensorView host, TensorView device) override;
  absl::Status CopyToHost(ConstTensorView device, TensorView host) override;
  absl::StatusOr<Buffer> AllocateStaging(size_t bytes) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) override;
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) override;

  // Bytes of all AllocateStaging so far.
  size_t staging_bytes() const { return staging_bytes_; }

  void Clear(TensorView) override { Refuse(); }
  absl::Status Reserve(const BackendLimits&) override {
    Refuse();
    return absl::OkStatus();
  }
  void EmbedTokens(const Matrix&, ConstTensorView, TensorView) override { Refuse(); }
  void RmsNorm(ConstTensorView, ConstTensorView, float, TensorView) override { Refuse(); }
  void AddRmsNorm(ConstTensorView, ConstTensorView, float, TensorView, TensorView) override { Refuse(); }
  void Linear(ConstTensorView, const Matrix&, TensorView) override { Refuse(); }
  void RopeAppendKv(const AttentionSpec&, const RopeSpec&, const AttentionIndex&, ConstTensorView, TensorView,
                    const KvPages&) override {
    Refuse();
  }
  void PagedAttention(const AttentionSpec&, const AttentionIndex&, ConstTensorView, const KvPages&,
                      TensorView) override {
    Refuse();
  }
  void Route(const RouterSpec&, ConstTensorView, const Matrix&, ConstTensorView, const RouterOutput&) override {
    Refuse();
  }
  void RunExperts(const ExpertWeights&, const ExpertArgs&) override { Refuse(); }
  void GatherRows(ConstTensorView, ConstTensorView, TensorView) override { Refuse(); }
  void SumRows(ConstTensorView, ConstTensorView, ConstTensorView, TensorView) override { Refuse(); }
  void Add(ConstTensorView, TensorView) override { Refuse(); }
  std::vector<SampledToken> Sample(TensorView, std::span<const SamplingRow>) override {
    Refuse();
    return {};
  }
  std::vector<ScoredToken> Score(ConstTensorView, std::span<const ScoringRow>) override {
    Refuse();
    return {};
  }

 private:
  void Refuse() const { CHECK(false && "a FakeBackend does not compute"); }
  // RESOURCE_EXHAUSTED where `left` is used up.
  absl::Status Take(int& left, size_t bytes);
  void CheckThread();

  FakeLimits limits_;
  const FillBudget fills_left_;
  size_t staging_bytes_ = 0;
  std::optional<std::thread::id> thread_;
};

}  // namespace switchyard
