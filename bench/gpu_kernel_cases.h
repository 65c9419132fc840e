// What gpu_kernel_bench times: every kernel of kernels/cuda at the sizes of one model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/gpu_inputs.h"
#include "bench/gpu_output_check.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard {

// Mixtral-8x7B. Source: its config.json.
struct BenchModel {
  int64_t hidden = 4096;
  int64_t intermediate = 14336;
  int64_t num_heads = 32;
  int64_t num_kv_heads = 8;
  int64_t head_dim = 128;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int64_t vocab = 32000;
  int64_t page_size = 16;
  // Bounds on the sizes of all cases, for a dry run.
  int64_t max_tokens = int64_t{1} << 30;
  int64_t max_context = int64_t{1} << 30;
  int64_t max_sequences = int64_t{1} << 30;

  int64_t qkv_width() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  int64_t attention_width() const { return num_heads * head_dim; }
};

// Each of `sizes` that is at most `bound`; `bound` in the place of the first larger one.
std::vector<int64_t> Bounded(std::initializer_list<int64_t> sizes, int64_t bound);

// Where a case is prepared, and its memory.
struct BenchDevice {
  cuda::Stream stream = nullptr;
  DType dtype = DType::kBFloat16;
  int num_multiprocessors = 1;
  // What has to pass through the L2 cache until nothing of before is left there.
  int64_t eviction_bytes = 0;
  int64_t max_sets = 1;
  GpuInputs& inputs;

  // How many sets of buffers of `bytes` each it takes until the first has left the cache, up to max_sets.
  int64_t Sets(double bytes) const;
  // For activations, which a step finds in the cache if they are small: enough sets where they are not.
  int64_t ActivationSets(double bytes) const;
};

// A case with its inputs on the device.
struct KernelRun {
  std::function<absl::Status(int64_t set)> launch;
  int64_t num_sets = 1;
  double streamed_bytes = 0;  // weights, or keys and values, of one set: what a step never finds in the cache
  // What a launch must move and compute at least, each input read once and each output written once; the mean over
  // sets. A multiplication and an addition are two operations.
  double min_bytes = 0;
  double min_operations = 0;
  std::vector<KernelOutput> outputs;
};

// Element `index` of an array of 16-bit floats.
inline void* HalfAt(void* halves, int64_t index) { return static_cast<uint16_t*>(halves) + index; }

struct ExpertFormCase {
  int64_t rows = 0;
  int64_t local_experts = 0;
  cuda::ExpertForm form = cuda::ExpertForm::kStreaming;
};

struct KernelCase {
  std::string name;
  // Queues the making of the inputs; pointers are good if device.inputs.status() is.
  std::function<absl::StatusOr<KernelRun>(BenchDevice& device)> prepare;
  std::optional<ExpertFormCase> expert_form;
};

// 0 to count - 1 in random order.
std::vector<int32_t> RandomOrder(int64_t count);
// Expert of each (row, k), as a router would choose that prefers none: distinct in a row.
std::vector<int32_t> RandomSlots(int64_t rows, int64_t top_k, int64_t num_experts);

// How many sets of slots a case goes through: few rows choose other experts at every launch, many choose all of them.
int64_t SlotSets(const BenchModel& model, int64_t rows, const BenchDevice& device);
std::vector<float> RandomRouterWeights(int64_t pairs);
// Over the sets of slots: of one set.
struct MeanLoad {
  double active_experts = 0;  // local ones that a row chose
  double entries = 0;         // pairs (row, k) that chose them
};
MeanLoad CountLoad(const std::vector<int32_t>& slots, int64_t num_sets, int64_t local_experts);

std::vector<KernelCase> TokenCases(const BenchModel& model);      // norm, rope, router, rows, fill
std::vector<KernelCase> DenseCases(const BenchModel& model);      // cuBLASLt
std::vector<KernelCase> AttentionCases(const BenchModel& model);  // decode and prefill
std::vector<KernelCase> ExpertCases(const BenchModel& model);     // permutation, both forms, sum
std::vector<KernelCase> QuantizedCases(const BenchModel& model);  // experts and projections in 4 and 8 bits
std::vector<KernelCase> SamplingCases(const BenchModel& model);

}  // namespace switchyard
