// What the memory of each rank will hold, known before anything is loaded.
//
// The plan is a dry run: the very code that makes a rank's model (CreateRankModel) runs against a backend that only
// counts (kernels/planning_backend.h, kernels/cpu_planning_backend.h). What CUDA, NCCL and graphs take beside that
// cannot be counted before it is taken; those three are estimates, and --gpu-reserve is what they may be wrong by. On
// the CPU the kernels' scratch is an upper bound. See docs/MEMORY.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_plan.h"
#include "kernels/device_info.h"

namespace switchyard {

// Bytes of one rank by what they are for.
struct RankMemory {
  // Counted to the byte, alignment included: together with `scratch` the arena of a GPU rank's backend.
  int64_t experts = 0;
  int64_t attention = 0;      // projections
  int64_t embeddings = 0;     // and the output projection
  int64_t other_weights = 0;  // norms and routers
  int64_t kv_cache = 0;
  int64_t activations = 0;  // workspace, index tensors, exchange buffers
  // Of the kernels (Backend::Reserve); on the CPU, where it grows with use, what it can grow to.
  int64_t scratch = 0;
  // Estimates, of GPUs.
  int64_t graphs = 0;
  int64_t nccl = 0;
  int64_t driver = 0;  // code of kernels; and the CUDA context, where free memory was not measured with one
  // --gpu-reserve.
  int64_t reserve = 0;
  // Beside the device's memory, for all experts of a rank that offloads some: pinned host memory of GPU ranks, files of
  // CPU ranks (--offload-dir). Counted to the byte, and not in total().
  int64_t offloaded = 0;

  // For CudaBackendOptions::arena_bytes.
  int64_t arena_bytes() const {
    return experts + attention + embeddings + other_weights + kv_cache + activations + scratch;
  }
  int64_t total() const { return arena_bytes() + graphs + nccl + driver + reserve; }
};

// With the experts and the KV pages that `plan` has now.
absl::StatusOr<RankMemory> PlanRankMemory(const EnginePlan& plan, const Checkpoint& checkpoint, int rank);

// What KV pages take on each rank, every tensor aligned by itself.
int64_t KvCacheBytes(const EnginePlan& plan, int64_t num_pages);

// What each rank of this process may take. On the CPU: an equal share of what the host has available. On GPUs: of
// `gpus` (ListGpus) what is free now, divided among the ranks that share a GPU; or config.gpu_memory_bytes, for which
// `gpus` may be empty. NOT_FOUND names a GPU that is not there.
absl::StatusOr<std::vector<int64_t>> FreeBytesOfRanks(const EngineConfig& config, std::span<const GpuInfo> gpus);

}  // namespace switchyard
