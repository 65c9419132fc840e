// The fast CPU backend: packed weights, vector kernels chosen at run time, one thread pool. Shares with the reference
// what has no faster version.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/grouped_gemm.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/reference_backend.h"
#include "kernels/cpu/row_products.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

class FastBackend final : public ReferenceBackend {
 public:
  // options.reference is not looked at.
  explicit FastBackend(const CpuBackendOptions& options);

  std::string Description() const override;

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

  void SumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView index, TensorView dst) override;
  void Add(ConstTensorView x, TensorView acc) override;

  std::vector<SampledToken> Sample(TensorView logits, std::span<const SamplingRow> rows) override;
  std::vector<ScoredToken> Score(ConstTensorView logits, std::span<const ScoringRow> rows) override;

 private:
  // Rows of so many elements worth a range of their own: another thread's taking part costs about as much.
  static int64_t SmallestRange(int64_t row_elements);

  ThreadPool pool_;
  RowProducts products_;
  PagedAttentionRunner attention_;
  GroupedExperts experts_;
  Scratch<float> router_logits_;
};

}  // namespace switchyard
