// Flags with which a model would fit where it does not.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/memory_fitter.h"

namespace switchyard {

// Batches below these make prompts slow out of proportion.
inline constexpr int64_t kSmallBatchTokens = 256;

// Whether `config` could still divide its attention among the ranks.
bool CanSplitHeads(const EngineConfig& config, const DecoderSpec& spec, int world_size);

// A configuration that holds less precise numbers than another.
struct LowerPrecision {
  EngineConfig config;
  std::string flags;                       // "--quantize nf4 --kv-dtype fp8"
  std::unique_ptr<Checkpoint> checkpoint;  // of config.quantize; null: the one of the other
};
// The least loss first: an FP8 KV cache, weights in 8 bits, in 4, the last two with an FP8 KV cache. Of a checkpoint
// that is quantised already, the first.
std::vector<LowerPrecision> LowerPrecisions(const EngineConfig& config, const Checkpoint& checkpoint);

// FAILED_PRECONDITION: what the rank needs, what it has, and what would fit.
absl::Status RefuseForMemory(const MemoryFitter& fitter, const EnginePlan& plan, const MemoryShortage& shortage);

}  // namespace switchyard
