#include "kernels/counting_backend.h"

#include <cstdint>

#include "kernels/check.h"
#include "kernels/cpu/host_memory.h"

namespace switchyard {
namespace {

// Where allocations would begin: an address that is aligned, not null, and in no process's reach.
constexpr uintptr_t kBegin = uintptr_t{1} << 56;

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
  CountedExperts(const ExpertWeightsSpec& spec, size_t gate_up_bytes, size_t down_bytes, bool is_offloaded)
      : spec_(spec),
        is_offloaded_(is_offloaded),
        gate_up_(static_cast<size_t>(spec.num_experts), CountedMatrix(spec.gate_up_spec(), gate_up_bytes)),
        down_(static_cast<size_t>(spec.num_experts), CountedMatrix(spec.down_spec(), down_bytes)) {}

  const ExpertWeightsSpec& spec() const override { return spec_; }
  bool is_offloaded() const override { return is_offloaded_; }
  Matrix& gate_up(int64_t local_expert) override { return gate_up_.at(static_cast<size_t>(local_expert)); }
  Matrix& down(int64_t local_expert) override { return down_.at(static_cast<size_t>(local_expert)); }

 private:
  const ExpertWeightsSpec spec_;
  const bool is_offloaded_;
  std::vector<CountedMatrix> gate_up_;  // [num_experts]
  std::vector<CountedMatrix> down_;
};

}  // namespace

void* CountingBackend::Take(size_t taken_bytes) {
  void* data = reinterpret_cast<void*>(kBegin + bytes_allocated_);  // NOLINT(performance-no-int-to-ptr)
  bytes_allocated_ += taken_bytes;
  return data;
}

absl::StatusOr<Buffer> CountingBackend::Allocate(size_t bytes) {
  return Buffer(Take(Taken(bytes)), bytes, [](void*) {});
}

absl::Status CountingBackend::CopyFromHost(ConstTensorView host, TensorView device) {
  CHECK_EQ(host.bytes(), device.bytes());
  return absl::OkStatus();
}

absl::Status CountingBackend::CopyToHost(ConstTensorView /*device*/, TensorView /*host*/) {
  RefuseToCompute("CopyToHost");
}

absl::StatusOr<Buffer> CountingBackend::AllocateStaging(size_t bytes) { return AllocateHostMemory(bytes); }

std::unique_ptr<Matrix> CountingBackend::CountMatrix(const MatrixSpec& spec, size_t bytes) {
  matrix_bytes_ += Taken(bytes);
  Take(Taken(bytes));
  return std::make_unique<CountedMatrix>(spec, bytes);
}

std::unique_ptr<ExpertWeights> CountingBackend::CountExperts(const ExpertWeightsSpec& spec, const ExpertBytes& bytes) {
  expert_bytes_ += bytes.taken;
  offloaded_bytes_ += bytes.offloaded;
  Take(bytes.taken);
  return std::make_unique<CountedExperts>(spec, bytes.gate_up, bytes.down, bytes.offloaded > 0);
}

void CountingBackend::CountScratch(size_t bytes) {
  CHECK_EQ(scratch_bytes_, size_t{0});  // called once
  scratch_bytes_ = Taken(bytes);
  Take(scratch_bytes_);
}

void CountingBackend::EmbedTokens(const Matrix&, ConstTensorView, TensorView) { RefuseToCompute("EmbedTokens"); }

void CountingBackend::RmsNorm(ConstTensorView, ConstTensorView, float, TensorView) { RefuseToCompute("RmsNorm"); }

void CountingBackend::AddRmsNorm(ConstTensorView, ConstTensorView, float, TensorView, TensorView) {
  RefuseToCompute("AddRmsNorm");
}

void CountingBackend::Linear(ConstTensorView, const Matrix&, TensorView) { RefuseToCompute("Linear"); }

void CountingBackend::RopeAppendKv(const AttentionSpec&, const RopeSpec&, const AttentionIndex&, ConstTensorView,
                                   TensorView, const KvPages&) {
  RefuseToCompute("RopeAppendKv");
}

void CountingBackend::PagedAttention(const AttentionSpec&, const AttentionIndex&, ConstTensorView, const KvPages&,
                                     TensorView) {
  RefuseToCompute("PagedAttention");
}

void CountingBackend::Route(const RouterSpec&, ConstTensorView, const Matrix&, ConstTensorView, const RouterOutput&) {
  RefuseToCompute("Route");
}

void CountingBackend::RunExperts(const ExpertWeights&, const ExpertArgs&) { RefuseToCompute("RunExperts"); }

void CountingBackend::GatherRows(ConstTensorView, ConstTensorView, TensorView) { RefuseToCompute("GatherRows"); }

void CountingBackend::SumRows(ConstTensorView, ConstTensorView, ConstTensorView, TensorView) {
  RefuseToCompute("SumRows");
}

void CountingBackend::Add(ConstTensorView, TensorView) { RefuseToCompute("Add"); }

std::vector<SampledToken> CountingBackend::Sample(TensorView, std::span<const SamplingRow>) {
  RefuseToCompute("Sample");
}

std::vector<ScoredToken> CountingBackend::Score(ConstTensorView, std::span<const ScoringRow>) {
  RefuseToCompute("Score");
}

}  // namespace switchyard
