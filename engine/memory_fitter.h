// Whether plans for one checkpoint fit the memory of given ranks: the plan that was asked for, and others to advise.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory_plan.h"

namespace switchyard {

// The rank that lacks the most.
struct MemoryShortage {
  int rank = 0;
  RankMemory need;
  int64_t have = 0;
  int64_t lacking() const { return need.total() - have; }
};

// Borrows both arguments. free_bytes [ranks]; in plans for more ranks all are imagined to be like the smallest of
// these.
class MemoryFitter {
 public:
  MemoryFitter(const Checkpoint& checkpoint, std::span<const int64_t> free_bytes)
      : checkpoint_(checkpoint), free_bytes_(free_bytes) {}

  // On GPUs with the experts where there is room for them (engine/expert_counts.h), on the CPU evenly. With
  // --offload-experts auto, where they do not all fit: evenly, and each rank with as many places as it has room for
  // beside all else, one at least.
  absl::StatusOr<EnginePlan> PlaceExperts(EnginePlan plan) const;
  // None: every rank has what it needs.
  absl::StatusOr<std::optional<MemoryShortage>> FindShortage(const EnginePlan& plan) const;
  // The KV pages that every rank has room for beside all else, no more than can be used.
  absl::StatusOr<int64_t> PagesOf(const EnginePlan& plan) const;

  // What the rank with the most needs, where every rank has what it needs, experts placed.
  std::optional<int64_t> LargestTotal(const EngineConfig& config, int world_size) const;
  bool Fits(const EngineConfig& config, int world_size) const { return LargestTotal(config, world_size).has_value(); }
  // The longest --max-model-len up to the present one with which `config` fits.
  std::optional<int64_t> LongestLength(EngineConfig config, int world_size) const;

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const DecoderSpec& spec() const { return checkpoint_.spec(); }
  std::span<const int64_t> free_bytes() const { return free_bytes_; }

 private:
  absl::StatusOr<EnginePlan> PlaceWholeExperts(EnginePlan plan) const;
  absl::StatusOr<EnginePlan> OffloadExperts(EnginePlan plan) const;
  // Of every rank.
  absl::StatusOr<std::vector<RankMemory>> NeedsOf(const EnginePlan& plan) const;
  int64_t FreeBytes(const EnginePlan& plan, int rank) const;

  const Checkpoint& checkpoint_;
  const std::span<const int64_t> free_bytes_;  // [ranks]
};

// The largest multiple of `step` in [step, limit] with which `fits` holds, `limit` itself counting as one; it holds for
// all below, too.
std::optional<int64_t> LargestThatFits(int64_t limit, int64_t step, const std::function<bool(int64_t)>& fits);

}  // namespace switchyard
