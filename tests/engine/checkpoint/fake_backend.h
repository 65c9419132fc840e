// A Backend that only keeps weights, as plain float32, so that loading is tested without any mathematics.
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace switchyard {

class FakeMatrix : public Matrix {
 public:
  explicit FakeMatrix(const MatrixSpec& spec);

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return values_.size() * sizeof(float); }
  absl::Status Fill(int64_t row_begin, ConstTensorView rows) override;

  // [out_features * in_features], NaN where no Fill has been.
  const std::vector<float>& values() const { return values_; }
  int64_t rows_filled() const { return rows_filled_; }

 private:
  const MatrixSpec spec_;
  std::vector<float> values_;
  int64_t rows_filled_ = 0;
};

// The values of a matrix that a FakeBackend made.
const std::vector<float>& ValuesOf(const Matrix& matrix);
std::vector<float> ValuesOf(const Tensor& tensor);

// Creates and fills weights; any mathematics is a failure of the test.
class FakeBackend : public Backend {
 public:
  // Allocations after this many matrices, sets of experts and buffers fail as on a full device.
  explicit FakeBackend(int max_allocations = 1'000'000) : allocations_left_(max_allocations) {}

  DeviceKind device() const override { return DeviceKind::kCpu; }
  std::string Description() const override { return "fake"; }
  DType activation_dtype() const override { return DType::kFloat32; }
  absl::StatusOr<Buffer> Allocate(size_t bytes) override;
  absl::Status CopyFromHost(ConstTensorView host, TensorView device) override;
  absl::Status CopyToHost(ConstTensorView device, TensorView host) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) override;
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) override;

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
  void Route(const RouterSpec&, ConstTensorView, const Matrix&, TensorView, TensorView) override { Refuse(); }
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
  absl::Status TakeAllocation(size_t bytes);

  int allocations_left_;
};

}  // namespace switchyard
