#include "kernels/planning_backend.h"

#include <cstdint>

#include "kernels/check.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cuda/memory_layout.h"

namespace switchyard {
namespace {

// Where the arena would begin: an address that is aligned, not null, and in no process's reach.
constexpr uintptr_t kArenaBegin = uintptr_t{1} << 56;

[[noreturn]] void RefuseToCompute(const char* operation) {
  internal::CheckFailed(__FILE__, __LINE__, std::string(operation) + " on a backend that only plans memory");
}

class CountedMatrix final : public Matrix {
 public:
  CountedMatrix(const MatrixSpec& spec, size_t bytes) : spec_(spec), bytes_(bytes) {}

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return bytes_; }
  absl::Status Fill(int64_t /*row_begin*/, ConstTensorView /*rows*/) override { RefuseToCompute("Matrix::Fill"); }
  absl::Status FillCodes(int64_t /*row_begin*/, ConstTensorView /*codes*/) override {
    RefuseToCompute("Matrix::FillCodes");
  }
  absl::Status FillScales(int64_t /*row_begin*/, const GroupScales& /*scales*/) override {
    RefuseToCompute("Matrix::FillScales");
  }
  absl::Status FillColumnOrder(std::span<const int32_t> /*order*/) override {
    RefuseToCompute("Matrix::FillColumnOrder");
  }
  absl::Status FillRandom(uint64_t /*seed*/, float /*deviation*/) override { RefuseToCompute("Matrix::FillRandom"); }

 private:
  const MatrixSpec spec_;
  const size_t bytes_;
};

class CountedExperts final : public ExpertWeights {
 public:
  CountedExperts(const ExpertWeightsSpec& spec, DType stored)
      : spec_(spec),
        gate_up_(static_cast<size_t>(spec.num_experts),
                 CountedMatrix(spec.gate_up_spec(), cuda::MakeExpertLayout(spec, stored).gate_up_expert_bytes)),
        down_(static_cast<size_t>(spec.num_experts),
              CountedMatrix(spec.down_spec(), cuda::MakeExpertLayout(spec, stored).down_expert_bytes)) {}

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return gate_up_.at(static_cast<size_t>(local_expert)); }
  Matrix& down(int64_t local_expert) override { return down_.at(static_cast<size_t>(local_expert)); }

 private:
  const ExpertWeightsSpec spec_;
  std::vector<CountedMatrix> gate_up_;  // [num_experts]
  std::vector<CountedMatrix> down_;
};

}  // namespace

PlanningBackend::PlanningBackend(DType activation_dtype) : activation_dtype_(activation_dtype) {
  CHECK(activation_dtype == DType::kBFloat16 || activation_dtype == DType::kFloat16);
}

void* PlanningBackend::Take(size_t bytes) {
  void* data = reinterpret_cast<void*>(kArenaBegin + bytes_allocated_);  // NOLINT(performance-no-int-to-ptr)
  bytes_allocated_ += cuda::AlignedBytes(bytes);
  return data;
}

absl::StatusOr<Buffer> PlanningBackend::Allocate(size_t bytes) {
  return Buffer(Take(bytes), bytes, [](void*) {});
}

absl::Status PlanningBackend::CopyFromHost(ConstTensorView host, TensorView device) {
  CHECK_EQ(host.bytes(), device.bytes());
  return absl::OkStatus();
}

absl::Status PlanningBackend::CopyToHost(ConstTensorView /*device*/, TensorView /*host*/) {
  RefuseToCompute("CopyToHost");
}

absl::StatusOr<Buffer> PlanningBackend::AllocateStaging(size_t bytes) { return AllocateHostMemory(bytes); }

absl::Status PlanningBackend::Reserve(const BackendLimits& limits) {
  CHECK_EQ(scratch_bytes_, size_t{0});  // called once
  scratch_bytes_ = cuda::AlignedBytes(cuda::MakeScratchLayout(limits, activation_dtype_).total_bytes);
  Take(scratch_bytes_);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Matrix>> PlanningBackend::CreateMatrix(const MatrixSpec& spec) {
  const size_t bytes = cuda::MatrixBytes(spec, activation_dtype_);
  matrix_bytes_ += cuda::AlignedBytes(bytes);
  Take(bytes);
  return std::make_unique<CountedMatrix>(spec, bytes);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> PlanningBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  const size_t bytes = cuda::ExpertWeightsBytes(spec, activation_dtype_);
  expert_bytes_ += bytes;
  Take(bytes);
  return std::make_unique<CountedExperts>(spec, activation_dtype_);
}

void PlanningBackend::EmbedTokens(const Matrix&, ConstTensorView, TensorView) { RefuseToCompute("EmbedTokens"); }

void PlanningBackend::RmsNorm(ConstTensorView, ConstTensorView, float, TensorView) { RefuseToCompute("RmsNorm"); }

void PlanningBackend::AddRmsNorm(ConstTensorView, ConstTensorView, float, TensorView, TensorView) {
  RefuseToCompute("AddRmsNorm");
}

void PlanningBackend::Linear(ConstTensorView, const Matrix&, TensorView) { RefuseToCompute("Linear"); }

void PlanningBackend::RopeAppendKv(const AttentionSpec&, const RopeSpec&, const AttentionIndex&, ConstTensorView,
                                   TensorView, const KvPages&) {
  RefuseToCompute("RopeAppendKv");
}

void PlanningBackend::PagedAttention(const AttentionSpec&, const AttentionIndex&, ConstTensorView, const KvPages&,
                                     TensorView) {
  RefuseToCompute("PagedAttention");
}

void PlanningBackend::Route(const RouterSpec&, ConstTensorView, const Matrix&, ConstTensorView, const RouterOutput&) {
  RefuseToCompute("Route");
}

void PlanningBackend::RunExperts(const ExpertWeights&, const ExpertArgs&) { RefuseToCompute("RunExperts"); }

void PlanningBackend::GatherRows(ConstTensorView, ConstTensorView, TensorView) { RefuseToCompute("GatherRows"); }

void PlanningBackend::SumRows(ConstTensorView, ConstTensorView, ConstTensorView, TensorView) {
  RefuseToCompute("SumRows");
}

void PlanningBackend::Add(ConstTensorView, TensorView) { RefuseToCompute("Add"); }

std::vector<SampledToken> PlanningBackend::Sample(TensorView, std::span<const SamplingRow>) {
  RefuseToCompute("Sample");
}

std::vector<ScoredToken> PlanningBackend::Score(ConstTensorView, std::span<const ScoringRow>) {
  RefuseToCompute("Score");
}

}  // namespace switchyard
