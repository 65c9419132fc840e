// A Backend that computes nothing and owns nothing: it counts what another one would allocate.
//
// The code that makes a rank's model runs against it before anything is loaded, so a memory plan is that code's own
// answer and cannot drift from it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace switchyard {

// Views into its Buffers have addresses that must not be read or written. Copies from the host and Clear do nothing;
// copies to the host, recording and operations are programmers' errors: nothing is ever computed here. What is left to
// a subclass are the sizes: CreateMatrix, CreateExperts and Reserve.
class CountingBackend : public Backend {
 public:
  // What has been given out so far, alignment included. Nothing is ever given back.
  size_t bytes_allocated() const { return bytes_allocated_; }
  size_t expert_bytes() const { return expert_bytes_; }    // of these, by CreateExperts
  size_t matrix_bytes() const { return matrix_bytes_; }    // by CreateMatrix
  size_t scratch_bytes() const { return scratch_bytes_; }  // by Reserve
  // Beside these, where offloaded experts lie (ExpertOffload): pinned host memory, or files.
  size_t offloaded_bytes() const { return offloaded_bytes_; }
  // What an allocation of `bytes` takes, alignment included.
  virtual size_t Taken(size_t bytes) const = 0;

  absl::StatusOr<Buffer> Allocate(size_t bytes) override;
  absl::Status CopyFromHost(ConstTensorView host, TensorView device) override;
  absl::Status CopyToHost(ConstTensorView device, TensorView host) override;
  // Host memory beside the model, and as such not counted.
  absl::StatusOr<Buffer> AllocateStaging(size_t bytes) override;
  void Clear(TensorView /*tensor*/) override {}
  absl::Status Synchronize() override { return absl::OkStatus(); }

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
  // For CreateMatrix: `bytes` are what the matrix holds.
  std::unique_ptr<Matrix> CountMatrix(const MatrixSpec& spec, size_t bytes);
  struct ExpertBytes {
    size_t gate_up = 0;  // that one expert's matrices hold
    size_t down = 0;
    size_t taken = 0;      // for all of them
    size_t offloaded = 0;  // beside that; 0: they are not offloaded
  };
  // For CreateExperts.
  std::unique_ptr<ExpertWeights> CountExperts(const ExpertWeightsSpec& spec, const ExpertBytes& bytes);
  // For Reserve, once.
  void CountScratch(size_t bytes);

 private:
  // `taken_bytes` of address space that nobody has.
  void* Take(size_t taken_bytes);

  size_t bytes_allocated_ = 0;
  size_t expert_bytes_ = 0;
  size_t offloaded_bytes_ = 0;
  size_t matrix_bytes_ = 0;
  size_t scratch_bytes_ = 0;
};

}  // namespace switchyard
