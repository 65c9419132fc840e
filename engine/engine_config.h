// Everything an engine is made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/model/quantization_choices.h"
#include "kernels/device.h"
#include "kernels/tensor.h"
#include "parallel/exchange_strategy.h"

namespace switchyard {

enum class AttentionParallelism {
  kReplicated,      // attention weights on every rank, sequences divided among ranks
  kTensorParallel,  // heads divided among ranks
};
const char* Name(AttentionParallelism mode);  // "replicated", "tensor-parallel"

enum class LoadFormat {
  kAuto,   // what the checkpoint holds
  kDummy,  // random weights of the checkpoint's shapes, made on the device: config.json is all that is read
};
const char* Name(LoadFormat format);  // "auto", "dummy"

// What CPU ranks round activations to before large matrix products.
enum class CpuActivations {
  kFloat32,
  kBFloat16,  // products with BF16 weights, where the processor multiplies that natively
  kInt8,      // products with quantised weights, in groups
};
const char* Name(CpuActivations activations);  // "float32", "bfloat16", "int8"

// When a waiting request may run.
enum class Admission {
  kWorstCase,   // once its longest possible answer has pages beside those of all that run: none is ever preempted
  kOptimistic,  // once its prompt has; those that outgrow the pages are preempted and computed again
};
const char* Name(Admission admission);  // "worst-case", "optimistic"
// For EngineConfig::expert_places: as many as fit.
inline constexpr int64_t kAutoExpertPlaces = 0;

std::string Name(const std::optional<int64_t>& expert_places);  // "none", "auto", "4"

// torchrun's variables; see parallel/launch.h.
struct LaunchConfig {
  std::string master_addr = "127.0.0.1";
  int master_port = 29500;
  int num_processes = 1;
  int process_idx = 0;
};

struct EngineConfig {
  std::string model_dir;
  DeviceKind device = DeviceKind::kCpu;
  int num_local_ranks = 1;  // CPU ranks of this process
  std::vector<int> gpus;    // device kCuda: one rank per entry; ranks that share a GPU name it each
  // `switchyard plan` for GPUs that are not there: the free memory of each, one rank per entry; `gpus` is empty then.
  std::vector<int64_t> gpu_memory_bytes;
  LaunchConfig launch;
  AttentionParallelism attention = AttentionParallelism::kReplicated;
  std::optional<ExchangeStrategy> exchange;  // none: auto
  int num_threads = 0;                       // CPU threads of this process, shared by its ranks; 0: all cores

  int64_t max_model_len = 0;        // 0: max_position_embeddings
  int64_t kv_cache_bytes = 0;       // per rank; 0: enough for max_running_requests of a typical length, within memory
  int64_t max_batch_tokens = 2048;  // per step, all ranks together
  int64_t max_running_requests = 256;
  Admission admission = Admission::kWorstCase;
  // Of requests that wait: more are refused. The tokens are those of their prompts (0: no bound); a request that finds
  // nobody waiting is taken whatever its length.
  int64_t max_queued_requests = 4096;
  int64_t max_queued_tokens = int64_t{1} << 22;
  // From submission to the first step, and to the last token; 0: no limit.
  absl::Duration max_queue_time;
  absl::Duration max_request_time;
  int64_t page_size = 16;      // tokens per KV page
  bool prefix_caching = true;  // prompts that begin like earlier ones share their pages (docs/PREFIX_CACHE.md)

  QuantizationChoices quantize;  // of a dense checkpoint, while it is loaded
  // Of KV pages: kFloat8E4M3 or kInt8; none: as activations.
  std::optional<DType> kv_dtype;

  // --offload-experts: of each layer's experts, how many a rank has on its device at a time. The others are copied
  // there when they are needed: from pinned host memory, or on CPU ranks from files in offload_dir. None: all are
  // there.
  std::optional<int64_t> expert_places;
  std::string offload_dir;  // not empty where CPU ranks offload

  LoadFormat load_format = LoadFormat::kAuto;
  int load_threads = 0;  // per rank; 0: 4 on a GPU, as many as the rank computes with on the CPU
  // Device kCuda: of activations and stored weights, kBFloat16 or kFloat16; none: see ActivationDType (engine_plan.h).
  std::optional<DType> dtype;
  bool cuda_graphs = true;                         // device kCuda: decode steps are recorded once and replayed
  int64_t gpu_reserve_bytes = int64_t{512} << 20;  // left free on each GPU
  bool staged_collectives = false;                 // device kCuda: collectives through host memory, by Gloo
  CpuActivations activations = CpuActivations::kFloat32;
  bool reference_kernels = false;  // plain loops, for checking the fast ones
  uint64_t seed = 0;               // of requests that bring none; 0: from the clock
  absl::Duration collective_timeout = absl::Seconds(60);
  absl::Duration rank_timeout = absl::Seconds(10);    // a process that gives no sign of life for so long is lost
  absl::Duration connect_timeout = absl::Minutes(5);  // for all processes to appear, at a restart as at the start
  int restart_ranks = 0;                              // tries to rebuild the ranks after one is lost
};

}  // namespace switchyard
