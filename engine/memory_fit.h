// How many KV pages there can be, and with which flags a model fits at all.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "engine/memory_plan.h"

namespace switchyard {

// Places the experts and decides the KV pages for free_bytes [world_size], each rank's own. Ranks with unequal memory
// get unequal numbers of experts, so that the one with the least room has the most KV pages. Without --kv-cache every
// rank gets as many pages as that one can hold, but no more than max_useful_pages(). CPU ranks keep the even division
// and the pages that the plan has. FAILED_PRECONDITION if a rank lacks memory for one sequence of --max-model-len, or
// for the --kv-cache that was asked for: names the rank, its GPU, need, have, and the flags with which it would fit.
absl::StatusOr<EnginePlan> FitToMemory(EnginePlan plan, const Checkpoint& checkpoint,
                                       std::span<const int64_t> free_bytes);

// What `switchyard plan --fit` settles on.
struct FittingChoice {
  EngineConfig config;                     // with --max-model-len decided
  std::unique_ptr<Checkpoint> checkpoint;  // of config.quantize; null: the one that was given does
};

// The flags with which the checkpoint fits, at the least cost. What costs only speed comes first (--max-batch-tokens
// down to 256, then tensor-parallel attention), then the context, down to 1024 tokens, then precision: weights in 8
// bits, in 4, and an FP8 KV cache with these; last --offload-experts auto, which costs the most speed, with any of
// those.
// --kv-cache and --max-model-len bound what is chosen. FAILED_PRECONDITION, as above, where nothing fits.
absl::StatusOr<FittingChoice> ChooseFittingFlags(const EngineConfig& asked, const Checkpoint& checkpoint,
                                                 int world_size, std::span<const int64_t> free_bytes);

}  // namespace switchyard
