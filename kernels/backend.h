// The mathematics of a sparse mixture-of-experts decoder on ONE device.
//
// One Backend belongs to one rank and is called from that rank's thread only. Operations are queued in call order on
// the rank's stream (on the CPU they have happened on return) and write their outputs completely. Shapes are fixed by
// the model's specification, so a wrong one is a programmer's error and CHECKs; device faults appear as the Status of
// Synchronize(). Every extent of tokens, rows or sequences may be zero.
//
// Activations have activation_dtype(): float32 on the CPU, bfloat16 or float16 on a GPU. Always float32 are the
// residual stream, logits, weights of the router's choice, and norm weights.
//
// A step that was recorded (Record) has a fixed size; rows beyond those in use are padding. An operation skips a
// padding row where it says so and computes an unused value elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/sampling.h"
#include "kernels/shared_loops.h"
#include "kernels/tensor.h"
#include "kernels/weights.h"

namespace switchyard {

// One layer's paged cache on one rank. A page holds `page_size` consecutive positions of one sequence. Elements have
// activation_dtype(), or kFloat8E4M3 or kInt8 and then a scale per position and head: key = scale * element.
// RopeAppendKv chooses the scale so that the largest element of a head is the largest of the type (448 or 127); 0 stays
// 0.
struct KvPages {
  TensorView k;         // [num_pages, num_kv_heads, page_size, head_dim]
  TensorView v;         // same
  TensorView k_scales;  // float32 [num_pages, num_kv_heads, page_size]; no data where elements need none
  TensorView v_scales;  // same
};

// Which tokens of a step belong to which sequence; index tensors on the device, made once per step for all layers.
struct AttentionIndex {
  ConstTensorView positions;       // int32 [tokens], position of each token in its sequence
  ConstTensorView token_sequence;  // int32 [tokens], index of its sequence in the two below; -1: a padding row
  ConstTensorView sequence_begin;  // int32 [sequences + 1], first token of each sequence in the step
  ConstTensorView page_table;      // int32 [sequences, max_pages], pages in order of position; unused entries -1
  // Known on the host, for the choice of kernels: the largest position + 1, and the most and fewest tokens that any
  // sequence has in the step.
  int64_t max_context = 0;
  int64_t max_query_tokens = 0;
  int64_t min_query_tokens = 0;
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

// What the router found for each row.
struct RouterOutput {
  TensorView experts;  // int32 [tokens, top_k]; -1 in padding rows
  TensorView weights;  // float32 [tokens, top_k]; 0 in padding rows
  TensorView counts;   // int32 [num_experts]: tokens that chose the expert are added
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

// The largest step that a backend has to make room for; what it needs beside the caller's tensors is allocated then.
struct BackendLimits {
  int64_t max_tokens = 0;       // in attention, dense layers and the router
  int64_t max_sequences = 0;    // in attention
  int64_t max_expert_rows = 0;  // ExpertArgs::rows
  int64_t max_output_rows = 0;  // of logits
  int64_t max_context = 0;      // tokens of one sequence
  AttentionSpec attention;
  int64_t hidden_size = 0;
  int64_t expert_intermediate_size = 0;
  int64_t top_k = 0;
  int64_t num_local_experts = 0;
  int64_t vocab_size = 0;
};

// Queued work that was recorded once and can be queued again as a whole, with the same pointers and sizes.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
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
  // Host memory from which rows reach this device fastest: pinned for a GPU.
  virtual absl::StatusOr<Buffer> AllocateStaging(size_t bytes) = 0;
  // Sets every byte to 0.
  virtual void Clear(TensorView tensor) = 0;
  // Waits for all that was queued; the first device fault since the last call.
  virtual absl::Status Synchronize() = 0;
  // Allocates all that the operations themselves need for steps up to `limits`; called once, before the first
  // operation. RESOURCE_EXHAUSTED names the size.
  virtual absl::Status Reserve(const BackendLimits& limits) = 0;
  // The stream that operations are queued on, a cudaStream_t; null on the CPU.
  virtual void* native_stream() const { return nullptr; }

  // Recording (CUDA graphs) -----------------------------------------------------------------------------------------
  virtual bool can_record() const { return false; }
  // Records what `body` queues instead of running it. `body` must have run once before, unrecorded, at the same sizes;
  // in it, copies from and to the host and Synchronize fail. UNIMPLEMENTED where can_record() is false.
  virtual absl::StatusOr<std::unique_ptr<RecordedWork>> Record(const std::function<absl::Status()>& body);
  virtual absl::Status Replay(RecordedWork& work);

  // Weights ---------------------------------------------------------------------------------------------------------
  virtual absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) = 0;
  virtual absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) = 0;

  // Dense layers ----------------------------------------------------------------------------------------------------
  // out[t] = table[ids[t]]; ids int32 [tokens], all in range; out float32 [tokens, hidden] (the residual stream).
  virtual void EmbedTokens(const Matrix& table, ConstTensorView ids, TensorView out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight, in float32; x float32 (the residual stream), out [tokens, hidden];
  // weight float32 [hidden]. Source: Zhang and Sennrich 2019, arXiv:1910.07467.
  virtual void RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) = 0;
  // residual += delta, then out = RmsNorm(residual); residual float32.
  virtual void AddRmsNorm(ConstTensorView delta, ConstTensorView weight, float eps, TensorView residual,
                          TensorView out) = 0;
  // y = x W^T; x [tokens, in], y [tokens, out], activations or float32.
  virtual void Linear(ConstTensorView x, const Matrix& weight, TensorView y) = 0;

  // Attention -------------------------------------------------------------------------------------------------------
  // Splits qkv [tokens, (heads + 2 kv_heads) * head_dim] (q heads, k heads, v heads), turns q and k by their positions,
  // writes k and v into the pages that `index` names, and q to q_out [tokens, heads, head_dim]. Skips padding rows.
  virtual void RopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                            ConstTensorView qkv, TensorView q_out, const KvPages& pages) = 0;
  // Causal attention of each token over its sequence's pages, its own position included; q, out [tokens, heads,
  // head_dim]. Padding rows become 0.
  virtual void PagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                              const KvPages& pages, TensorView out) = 0;

  // Mixture of experts ----------------------------------------------------------------------------------------------
  // Router in float32: p = softmax(x W^T); the top_k largest, descending, lowest expert first among equals;
  // renormalised on demand. num_valid int32 [1]: rows from there on are padding; no data: none are.
  virtual void Route(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
                     const RouterOutput& out) = 0;
  // See ExpertArgs. Groups the rows by local expert, multiplies, and sums.
  virtual void RunExperts(const ExpertWeights& experts, const ExpertArgs& args) = 0;

  // Rows ------------------------------------------------------------------------------------------------------------
  // dst[i] = src[index[i]] for rows of any type; index int32 [n].
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
  // Activations of products with quantised weights are rounded to 8 bits in groups, and multiplied as integers.
  bool int8_activations = false;
  // With other CPU backends of this process: each one's waiting threads take part in the others' loops, up to
  // num_guests of them in this one's.
  int num_guests = 0;
  std::shared_ptr<SharedLoops> shared_loops;  // null: none do
};
// Chooses instructions at run time (SSE4 to AVX-512).
std::unique_ptr<Backend> CreateCpuBackend(const CpuBackendOptions& options);

struct CudaBackendOptions {
  int device_index = 0;
  DType activation_dtype = DType::kBFloat16;  // or kFloat16; weights are stored in it
  // Device memory taken at creation, from which every Allocate is served (kernels/device_memory.h computes it); 0: as
  // much as each Allocate asks for.
  size_t arena_bytes = 0;
};
// UNIMPLEMENTED with the remedy in its text where the build has no CUDA; NOT_FOUND where there is no such GPU;
// RESOURCE_EXHAUSTED where the arena does not fit.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaBackendOptions& options);

}  // namespace switchyard
