// What follows from the flags, the checkpoint and the number of ranks, decided and checked before anything is loaded.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_config.h"
#include "engine/kv_cache.h"
#include "engine/model/decoder.h"
#include "engine/scheduler.h"
#include "parallel/expert_placement.h"

namespace switchyard {

struct EnginePlan {
  EngineConfig config;  // zeros of "choose for me" replaced
  int world_size = 1;
  int threads_per_rank = 1;
  ExpertPlacement placement;
  AttentionSpec attention;  // of one rank
  KvCacheShape kv_shape;    // of one rank
  SchedulerConfig scheduler;
  std::vector<ExchangeStrategy> exchanges;  // those that a step may use
  // Of the ranks of this process; null before ranks are to run, and where SharesLoops is false.
  std::shared_ptr<SharedLoops> shared_loops;
  // [world_size], experts of each layer that a rank has on its device at a time, at most those that it has at all;
  // empty: all of them.
  std::vector<int64_t> expert_places;

  bool heads_are_split() const { return config.attention == AttentionParallelism::kTensorParallel && world_size > 1; }
  WeightShard ShardOf(int rank) const;
  // The most tokens that one rank can hold of a step whose tokens are divided among ranks: all that fit in a step, or
  // an even slice of them.
  int64_t max_divided_tokens() const;
  DecoderLimits decoder_limits() const;
  CpuBackendOptions cpu_backend_options(int rank) const;
  ExpertOffload OffloadOf(int rank) const;
  // Some rank has more experts than places.
  bool offloads_experts() const;
  // Decode steps are recorded: not where the host decides on the way what to copy.
  bool records_steps() const { return config.cuda_graphs && !offloads_experts(); }
  // Steps in which a rank holds a slice of what every rank attends to (TokenLayout::kSliced) may come.
  bool slices_tokens() const;
  // Every rank's experts as a contiguous run, of these lengths [world_size].
  void SetExpertCounts(std::span<const int> num_experts);
  // Sets the number of KV pages of every rank, wherever the plan says it.
  void SetPages(int64_t num_pages);
  int64_t pages_per_sequence() const;  // at --max-model-len
  // Pages with which every running request could reach --max-model-len: more would only keep what the prefix cache
  // finds.
  int64_t max_useful_pages() const;
  std::string DescribeExchange() const;  // "auto (all_to_all, all_gather)"
};

// Ranks that wait help those that compute: on CPUs where they are threads of one process.
bool SharesLoops(const EngineConfig& config);

// What activations, KV pages and (on a GPU) weights are computed and held in: float32 on the CPU; on a GPU --dtype, or
// else float16 where the checkpoint's weights are float16 and bfloat16 where they are anything else.
DType ActivationDType(const EngineConfig& config, const DecoderSpec& spec);

// `world_size` counts the ranks of all processes. INVALID_ARGUMENT names the flag, its value, the limit and the remedy.
// Experts are divided evenly. On a GPU without --kv-cache, num_pages is what one sequence of --max-model-len needs and
// config.kv_cache_bytes stays 0: how many there can be is for FitToMemory (memory_fit.h) to say, and so are the places
// of --offload-experts auto, without which all experts are on the device.
absl::StatusOr<EnginePlan> MakeEnginePlan(const EngineConfig& config, const DecoderSpec& spec, int world_size);

// What must agree between processes, by name: differing values are shown to the user.
std::vector<std::pair<std::string, std::string>> JobFacts(const EngineConfig& config, const DecoderSpec& spec);

}  // namespace switchyard
