// The mathematics of a sparse mixture-of-experts decoder on ONE device.
//
// One Backend belongs to one rank and is called from that rank's thread only. Operations are queued in call order on
// the rank's stream (on the CPU they have happened on return) and write their outputs completely. Shapes are fixed by
// the model's specification, so a wrong one is a programmer's error and CHECKs; device faults appear as the Status of
// Synchronize(). Activations are float32 on the CPU. Every extent of tokens, rows or sequences may be zero.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/sampling.h"
#include "kernels/tensor.h"
#include "kernels/weights.h"

namespace switchyard {

// One layer's paged cache on one rank. A page holds `page_size` consecutive positions of one sequence.
struct KvPages {
  TensorView k;  // [num_pages, num_kv_heads, page_size, head_dim]
  TensorView v;  // same
};

// Which tokens of a step belong to which sequence; index tensors on the device, made once per step for all layers.
struct AttentionIndex {
  ConstTensorView positions;       // int32 [tokens], position of each token in its sequence
  ConstTensorView token_sequence;  // int32 [tokens], index of its sequence in the two below
  ConstTensorView sequence_begin;  // int32 [sequences + 1], first token of each sequence in the step
  ConstTensorView page_table;      // int32 [sequences, max_pages], pages in order of position; unused entries -1
  int64_t max_context = 0;         // largest position + 1 in the step
};

struct AttentionSpec {
  int64_t num_heads = 0;     // on this rank
  int64_t num_kv_heads = 0;  // on this rank; divides num_heads
  int64_t head_dim = 0;
  float scale = 1.0f;                     // of q.k before the softmax
  std::optional<int64_t> sliding_window;  // a query at p sees keys in (p - window, p]; none: [0, p]
};

// Rotary embedding in the half-split layout of Hugging Face checkpoints: dimension i turns with i + rotary_dim / 2 by
// position * inv_freq[i]. Source: Su et al. 2021, arXiv:2104.09864.
struct RopeSpec {
  std::span<const float> inv_freq;  // [rotary_dim / 2], scaling already applied; host memory
  float attention_factor = 1.0f;    // multiplies cos and sin (YaRN)
};

struct RouterSpec {
  int64_t num_experts = 0;
  int64_t top_k = 0;
  bool renormalize = true;  // the chosen weights sum to 1
};

// Sums of local experts over rows. A row's slot names an expert together with its place: slot `first_slot + e` is local
// expert e; slots outside [first_slot, first_slot + num_experts) belong to other ranks and contribute nothing, and a
// slot may occur twice in a row.
struct ExpertArgs {
  ConstTensorView rows;     // [n, hidden]
  ConstTensorView slots;    // int32 [n, top_k]; -1: none
  ConstTensorView weights;  // float32 [n, top_k]
  int64_t first_slot = 0;
  TensorView out;  // [n, hidden] = sum over local k of weight * w2(silu(w1 x) * w3 x); 0 where none
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual DeviceKind device() const = 0;
  // For logs: "cpu avx3_zen4, 2 threads".
  virtual std::string Description() const = 0;
  virtual DType activation_dtype() const = 0;

  // Memory ----------------------------------------------------------------------------------------------------------
  // Zeroed, aligned to 64 bytes at least. RESOURCE_EXHAUSTED names the size asked for.
  virtual absl::StatusOr<Buffer> Allocate(size_t bytes) = 0;
  absl::StatusOr<Tensor> AllocateTensor(DType dtype, Shape shape);
  // Host memory <-> device; sizes equal; the host side is free to be reused on return.
  virtual absl::Status CopyFromHost(ConstTensorView host, TensorView device) = 0;
  virtual absl::Status CopyToHost(ConstTensorView device, TensorView host) = 0;
  // Waits for all that was queued; the first device fault since the last call.
  virtual absl::Status Synchronize() = 0;

  // Weights ---------------------------------------------------------------------------------------------------------
  virtual absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) = 0;
  virtual absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) = 0;

  // Dense layers ----------------------------------------------------------------------------------------------------
  // out[t] = table[ids[t]]; ids int32 [tokens], all in range; out [tokens, hidden].
  virtual void EmbedTokens(const Matrix& table, ConstTensorView ids, TensorView out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight, in float32; x, out [tokens, hidden]; weight float32 [hidden].
  // Source: Zhang and Sennrich 2019, arXiv:1910.07467. `out` may be `x`.
  virtual void RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) = 0;
  // residual += delta, then out = RmsNorm(residual).
  virtual void AddRmsNorm(ConstTensorView delta, ConstTensorView weight, float eps, TensorView residual,
                          TensorView out) = 0;
  // y = x W^T; x [tokens, in], y [tokens, out].
  virtual void Linear(ConstTensorView x, const Matrix& weight, TensorView y) = 0;

  // Attention -------------------------------------------------------------------------------------------------------
  // Splits qkv [tokens, (heads + 2 kv_heads) * head_dim] (q heads, k heads, v heads), turns q and k by their positions,
  // writes k and v into the pages that `index` names, and q to q_out [tokens, heads, head_dim].
  virtual void RopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                            ConstTensorView qkv, TensorView q_out, const KvPages& pages) = 0;
  // Causal attention of each token over its sequence's pages, its own position included; q, out [tokens, heads,
  // head_dim].
  virtual void PagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                              const KvPages& pages, TensorView out) = 0;

  // Mixture of experts ----------------------------------------------------------------------------------------------
  // Router in float32: p = softmax(x W^T); the top_k largest, descending, lowest expert first among equals;
  // renormalised on demand. experts int32 [tokens, top_k], weights float32 [tokens, top_k].
  virtual void Route(const RouterSpec& spec, ConstTensorView x, const Matrix& router, TensorView experts,
                     TensorView weights) = 0;
  // See ExpertArgs. Groups the rows by local expert, multiplies, and sums.
  virtual void RunExperts(const ExpertWeights& experts, const ExpertArgs& args) = 0;

  // Rows ------------------------------------------------------------------------------------------------------------
  // dst[i] = src[index[i]] for float32 or int32 rows; index int32 [n].
  virtual void GatherRows(ConstTensorView src, ConstTensorView index, TensorView dst) = 0;
  // dst[t] = sum over j in [begin[t], begin[t + 1]) of src[index[j]]; begin int32 [tokens + 1], index int32 [n].
  virtual void SumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView index, TensorView dst) = 0;
  // acc += x; same shape.
  virtual void Add(ConstTensorView x, TensorView acc) = 0;

  // Sampling --------------------------------------------------------------------------------------------------------
  // logits float32 [rows.size(), vocab]; may be overwritten.
  virtual std::vector<SampledToken> Sample(TensorView logits, std::span<const SamplingRow> rows) = 0;
  virtual std::vector<ScoredToken> Score(ConstTensorView logits, std::span<const ScoringRow> rows) = 0;
};

struct CpuBackendOptions {
  int num_threads = 1;     // the calling thread counts
  bool reference = false;  // the plain loops that the fast path is tested against
  // Activations of large products with BF16 weights are rounded to bfloat16, sums stay float32; the router's never.
  // Needs AVX512_BF16 or AMX: elsewhere products stay float32, and Description() says so.
  bool bf16_activations = false;
};
// Chooses instructions at run time (SSE4 to AVX-512).
std::unique_ptr<Backend> CreateCpuBackend(const CpuBackendOptions& options);

// UNIMPLEMENTED with the remedy in its text where the build has no CUDA; NOT_FOUND where there is no such GPU.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(int device_index);

}  // namespace switchyard
