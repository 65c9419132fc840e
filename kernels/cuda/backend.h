// The CUDA backend: one GPU, one stream, kernels of this folder and cuBLASLt.
//
// What it allocates is known before (memory_layout.h): weights and tensors from an arena, scratch of all operations in
// Reserve. Errors of launches stay with the CUDA runtime and appear at Synchronize.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/copy_streams.h"
#include "kernels/cuda/dense_gemm.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/transfers.h"
#include "kernels/cuda/weights.h"

namespace switchyard::cuda {

class CudaBackend final : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<Backend>> Create(const CudaBackendOptions& options);
  ~CudaBackend() override;

  DeviceKind device() const override { return DeviceKind::kCuda; }
  std::string Description() const override { return description_; }
  DType activation_dtype() const override { return dtype_; }

  absl::StatusOr<Buffer> Allocate(size_t bytes) override { return arena_.Allocate(bytes); }
  absl::Status CopyFromHost(ConstTensorView host, TensorView device) override;
  absl::Status CopyToHost(ConstTensorView device, TensorView host) override;
  absl::StatusOr<Buffer> AllocateStaging(size_t bytes) override;
  void Clear(TensorView tensor) override;
  absl::Status Synchronize() override;
  absl::Status Reserve(const BackendLimits& limits) override;
  void* native_stream() const override { return stream_; }

  bool can_record() const override { return true; }
  absl::StatusOr<std::unique_ptr<RecordedWork>> Record(const std::function<absl::Status()>& body) override;
  absl::Status Replay(RecordedWork& work) override;

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

 private:
  CudaBackend(const CudaBackendOptions& options, const cudaDeviceProp& properties, cudaStream_t stream, Arena arena,
              Transfers transfers);

  std::byte* Scratch(const ScratchLayout::Part& part) const {
    return static_cast<std::byte*>(scratch_.data()) + part.offset;
  }
  // Keeps the first error of an operation that returns none, for Synchronize.
  void Note(const absl::Status& status) { failure_.Update(status); }
  // The rotary frequencies on the device; uploaded when they change.
  const float* InvFreq(const RopeSpec& rope);
  // Runs `rows` over `logits` in as few rounds as the areas for parameters and answers allow.
  template <typename Row, typename Result>
  void RunSampling(ConstTensorView logits, std::span<const Row> rows, std::vector<Result>& results);
  // One round; its answers, empty after a failure (Note).
  std::vector<std::byte> RunPacked(const PackedSampling& packed, ConstTensorView logits, bool is_scoring);

  // Constant after construction.
  const int device_;
  const DType dtype_;
  const int num_multiprocessors_;
  const std::string description_;
  const cudaStream_t stream_;
  const ExpertOffload offload_;

  Arena arena_;
  Transfers transfers_;
  CopyStreams copies_;
  const WeightContext weights_;
  cudaStream_t offload_copies_ = nullptr;  // null: no experts are offloaded yet

  // Set by Reserve.
  ScratchLayout layout_;
  Buffer scratch_;
  std::unique_ptr<DenseGemm> gemm_;

  std::vector<float> inv_freq_;  // what the device holds
  bool recording_ = false;
  absl::Status failure_;
};

}  // namespace switchyard::cuda
