// The plain CPU backend: one readable loop per operation, sums in double. It is what the fast backend is tested
// against, and its base: memory, weights and whatever is not worth a faster version are shared.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/expert_copier.h"
#include "kernels/cpu/offloaded_experts.h"

namespace switchyard {

class ReferenceBackend : public Backend {
 public:
  explicit ReferenceBackend(const ExpertOffload& offload = {}) : offload_(offload) {}

  DeviceKind device() const override { return DeviceKind::kCpu; }
  std::string Description() const override { return "cpu reference, 1 thread"; }
  DType activation_dtype() const override { return DType::kFloat32; }

  absl::StatusOr<Buffer> Allocate(size_t bytes) override;
  absl::Status CopyFromHost(ConstTensorView host, TensorView device) override;
  absl::Status CopyToHost(ConstTensorView device, TensorView host) override;
  absl::StatusOr<Buffer> AllocateStaging(size_t bytes) override { return Allocate(bytes); }
  void Clear(TensorView tensor) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }
  absl::Status Reserve(const BackendLimits& /*limits*/) override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) override;
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) override;

  void EmbedTokens(const Matrix& table, ConstTensorView ids, TensorView out) override;
  void RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) override;
  void AddRmsNorm(ConstTensorView delta, ConstTensorView weight, float eps, TensorView residual,
                  TensorView out) override;
  void Linear(ConstTensorView x, const Matrix& weight, TensorView y) override;

  void RopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                    ConstTensorView qkv, TensorView q_out, const KvPages& pages) override;
  void PagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                      const KvPages& pages, TensorView out) override;

  void Route(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
             const RouterOutput& out) override;
  void RunExperts(const ExpertWeights& experts, const ExpertArgs& args) override;

  void GatherRows(ConstTensorView src, ConstTensorView index, TensorView dst) override;
  void SumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView index, TensorView dst) override;
  void Add(ConstTensorView x, TensorView acc) override;

  std::vector<SampledToken> Sample(TensorView logits, std::span<const SamplingRow> rows) override;
  std::vector<ScoredToken> Score(ConstTensorView logits, std::span<const ScoringRow> rows) override;

 protected:
  bool is_offloaded(const ExpertWeightsSpec& spec) const { return offload_.applies_to(spec); }
  // For those specs.
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateOffloaded(const ExpertWeightsSpec& spec, MatrixFactory create);

 private:
  const ExpertOffload offload_;
  std::unique_ptr<ExpertCopier> copier_;  // of all layers; null: none is offloaded yet
};

}  // namespace switchyard
