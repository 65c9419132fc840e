#include "engine/memory_fit.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/memory_advice.h"
#include "engine/memory_fitter.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// A model that can read no more than this is of little use.
constexpr int64_t kLeastLength = 1024;

std::optional<EngineConfig> WithinLength(const MemoryFitter& fitter, const EngineConfig& config, int world_size) {
  const int64_t limit = config.max_model_len > 0 ? config.max_model_len : fitter.spec().max_position_embeddings;
  const std::optional<int64_t> length = fitter.LongestLength(config, world_size);
  if (!length.has_value() || *length < std::min(limit, kLeastLength)) return std::nullopt;
  EngineConfig chosen = config;
  chosen.max_model_len = *length;
  return chosen;
}

// The whole length at some cost of speed, or else the longest at every cost of speed.
std::optional<EngineConfig> WithinPrecision(const MemoryFitter& fitter, EngineConfig config, int world_size) {
  if (config.max_model_len == 0) config.max_model_len = fitter.spec().max_position_embeddings;
  std::vector<EngineConfig> slower;
  const int64_t batch_tokens = config.max_batch_tokens;
  for (const AttentionParallelism attention : {config.attention, AttentionParallelism::kTensorParallel}) {
    if (attention != config.attention && !CanSplitHeads(config, fitter.spec(), world_size)) continue;
    config.attention = attention;
    for (int64_t tokens = batch_tokens; tokens == batch_tokens || tokens >= kSmallBatchTokens; tokens /= 2) {
      config.max_batch_tokens = tokens;
      if (fitter.Fits(config, world_size)) return config;
      slower.push_back(config);
    }
  }
  // The last is the slowest, and takes the least.
  return WithinLength(fitter, slower.back(), world_size);
}

}  // namespace

absl::StatusOr<EnginePlan> FitToMemory(EnginePlan plan, const Checkpoint& checkpoint,
                                       std::span<const int64_t> free_bytes) {
  CHECK_EQ(static_cast<int>(free_bytes.size()), plan.world_size);
  const MemoryFitter fitter(checkpoint, free_bytes);
  absl::StatusOr<EnginePlan> placed = fitter.PlaceExperts(std::move(plan));
  if (!placed.ok()) return placed.status();
  const absl::StatusOr<std::optional<MemoryShortage>> shortage = fitter.FindShortage(*placed);
  if (!shortage.ok()) return shortage.status();
  if (shortage->has_value()) return RefuseForMemory(fitter, *placed, **shortage);
  if (placed->config.device == DeviceKind::kCpu || placed->config.kv_cache_bytes > 0) return placed;
  const absl::StatusOr<int64_t> pages = fitter.PagesOf(*placed);
  if (!pages.ok()) return pages.status();
  CHECK_GE(*pages, placed->pages_per_sequence());
  placed->SetPages(*pages);
  return placed;
}

absl::StatusOr<FittingChoice> ChooseFittingFlags(const EngineConfig& asked, const Checkpoint& checkpoint,
                                                 int world_size, std::span<const int64_t> free_bytes) {
  const MemoryFitter fitter(checkpoint, free_bytes);
  std::optional<EngineConfig> config = WithinPrecision(fitter, asked, world_size);
  if (config.has_value()) return FittingChoice{*std::move(config), nullptr};
  for (LowerPrecision& lower : LowerPrecisions(asked, checkpoint)) {
    const MemoryFitter lower_fitter(lower.checkpoint == nullptr ? checkpoint : *lower.checkpoint, free_bytes);
    config = WithinPrecision(lower_fitter, lower.config, world_size);
    if (config.has_value()) return FittingChoice{*std::move(config), std::move(lower.checkpoint)};
  }
  if (!asked.expert_places.has_value()) {
    EngineConfig offloading = asked;
    offloading.expert_places = kAutoExpertPlaces;
    absl::StatusOr<FittingChoice> choice = ChooseFittingFlags(offloading, checkpoint, world_size, free_bytes);
    if (choice.ok()) return choice;
  }
  absl::StatusOr<EnginePlan> plan = MakeEnginePlan(asked, checkpoint.spec(), world_size);
  if (plan.ok()) plan = FitToMemory(*std::move(plan), checkpoint, free_bytes);
  return plan.ok() ? absl::InternalError("memory plan: nothing fits, and yet it does") : plan.status();
}

}  // namespace switchyard
