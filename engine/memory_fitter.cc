#include "engine/memory_fitter.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/expert_counts.h"

namespace switchyard {
namespace {

// Pages that `bytes` hold, `limit` at most; negative room holds none.
int64_t PagesWithin(int64_t bytes, const EnginePlan& plan, int64_t limit) {
  int64_t pages = std::min(limit, std::max<int64_t>(bytes, 0) / plan.kv_shape.BytesPerPage());
  while (pages > 0 && KvCacheBytes(plan, pages) > bytes) --pages;  // alignment takes some
  return pages;
}

}  // namespace

int64_t MemoryFitter::FreeBytes(const EnginePlan& plan, int rank) const {
  if (plan.world_size == static_cast<int>(free_bytes_.size())) return free_bytes_[static_cast<size_t>(rank)];
  return *std::min_element(free_bytes_.begin(), free_bytes_.end());
}

absl::StatusOr<std::vector<RankMemory>> MemoryFitter::NeedsOf(const EnginePlan& plan) const {
  // Ranks with as many experts and places need the same.
  std::map<std::pair<int, int64_t>, RankMemory> by_count;
  std::vector<RankMemory> needs;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    const std::pair count(plan.placement.num_slots(rank), plan.OffloadOf(rank).num_places);
    if (!by_count.contains(count)) {
      const absl::StatusOr<RankMemory> need = PlanRankMemory(plan, checkpoint_, rank);
      if (!need.ok()) return need.status();
      by_count[count] = *need;
    }
    needs.push_back(by_count[count]);
  }
  return needs;
}

absl::StatusOr<EnginePlan> MemoryFitter::PlaceExperts(EnginePlan plan) const {
  const std::optional<int64_t> asked = plan.config.expert_places;
  // So many places are asked for as they are; where each rank has its own number, experts go evenly.
  if (asked.has_value() && *asked != kAutoExpertPlaces) return plan;
  plan.expert_places.clear();
  absl::StatusOr<EnginePlan> placed = PlaceWholeExperts(plan);
  if (!placed.ok() || !asked.has_value()) return placed;
  const absl::StatusOr<std::optional<MemoryShortage>> shortage = FindShortage(*placed);
  if (!shortage.ok()) return shortage.status();
  return shortage->has_value() ? OffloadExperts(std::move(plan)) : placed;
}

absl::StatusOr<EnginePlan> MemoryFitter::OffloadExperts(EnginePlan plan) const {
  plan.placement = ExpertPlacement::Contiguous(static_cast<int>(spec().num_experts), plan.world_size);
  plan.expert_places.assign(static_cast<size_t>(plan.world_size), 1);
  // Recorded steps go where any rank offloads, so that this is decided before room is looked for.
  std::vector<int64_t> places = plan.expert_places;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    const int64_t held = plan.placement.num_slots(rank);
    const std::optional<int64_t> most = LargestThatFits(held, 1, [&](int64_t count) {
      EnginePlan changed = plan;
      changed.expert_places[static_cast<size_t>(rank)] = count;
      const absl::StatusOr<RankMemory> need = PlanRankMemory(changed, checkpoint_, rank);
      return need.ok() && need->total() <= FreeBytes(plan, rank);
    });
    places[static_cast<size_t>(rank)] = most.value_or(1);
  }
  plan.expert_places = std::move(places);
  return plan;
}

absl::StatusOr<EnginePlan> MemoryFitter::PlaceWholeExperts(EnginePlan plan) const {
  const int64_t num_experts = spec().num_experts;
  if (plan.config.device == DeviceKind::kCpu || plan.world_size == 1 || num_experts < 2 ||
      plan.world_size != static_cast<int>(free_bytes_.size())) {
    return plan;
  }
  // What an expert takes is what two ranks differ by of which one has all experts but one, and the other that one.
  EnginePlan uneven = plan;
  std::vector<int> counts(static_cast<size_t>(plan.world_size));
  counts[0] = static_cast<int>(num_experts) - 1;
  counts[1] = 1;
  uneven.SetExpertCounts(counts);
  const absl::StatusOr<std::vector<RankMemory>> needs = NeedsOf(uneven);
  if (!needs.ok()) return needs.status();
  const RankMemory& one = (*needs)[1];
  ExpertRoom room = {.num_experts = static_cast<int>(num_experts),
                     .page_bytes = plan.kv_shape.BytesPerPage(),
                     .max_pages = plan.config.kv_cache_bytes > 0 ? plan.kv_shape.num_pages : plan.max_useful_pages()};
  room.expert_bytes = num_experts == 2 ? one.experts : ((*needs)[0].total() - one.total()) / (num_experts - 2);
  for (int rank = 0; rank < plan.world_size; ++rank) {
    room.bytes.push_back(FreeBytes(plan, rank) - (one.total() - one.kv_cache - room.expert_bytes));
  }
  plan.SetExpertCounts(ChooseExpertCounts(room));
  return plan;
}

absl::StatusOr<std::optional<MemoryShortage>> MemoryFitter::FindShortage(const EnginePlan& plan) const {
  const absl::StatusOr<std::vector<RankMemory>> needs = NeedsOf(plan);
  if (!needs.ok()) return needs.status();
  std::optional<MemoryShortage> worst;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    const MemoryShortage shortage = {
        .rank = rank, .need = (*needs)[static_cast<size_t>(rank)], .have = FreeBytes(plan, rank)};
    if (shortage.lacking() <= 0) continue;
    if (!worst.has_value() || shortage.lacking() > worst->lacking()) worst = shortage;
  }
  return worst;
}

absl::StatusOr<int64_t> MemoryFitter::PagesOf(const EnginePlan& plan) const {
  const absl::StatusOr<std::vector<RankMemory>> needs = NeedsOf(plan);
  if (!needs.ok()) return needs.status();
  int64_t pages = plan.max_useful_pages();
  for (int rank = 0; rank < plan.world_size; ++rank) {
    const RankMemory& need = (*needs)[static_cast<size_t>(rank)];
    pages = PagesWithin(FreeBytes(plan, rank) - (need.total() - need.kv_cache), plan, pages);
  }
  return pages;
}

std::optional<int64_t> MemoryFitter::LargestTotal(const EngineConfig& config, int world_size) const {
  absl::StatusOr<EnginePlan> plan = MakeEnginePlan(config, spec(), world_size);
  if (plan.ok()) plan = PlaceExperts(*std::move(plan));
  if (!plan.ok()) return std::nullopt;
  const absl::StatusOr<std::vector<RankMemory>> needs = NeedsOf(*plan);
  if (!needs.ok()) return std::nullopt;
  int64_t largest = 0;
  for (int rank = 0; rank < world_size; ++rank) {
    const int64_t need = (*needs)[static_cast<size_t>(rank)].total();
    if (need > FreeBytes(*plan, rank)) return std::nullopt;
    largest = std::max(largest, need);
  }
  return largest;
}

std::optional<int64_t> MemoryFitter::LongestLength(EngineConfig config, int world_size) const {
  const int64_t limit = config.max_model_len > 0 ? config.max_model_len : spec().max_position_embeddings;
  return LargestThatFits(limit, config.page_size, [&](int64_t length) {
    config.max_model_len = length;
    return Fits(config, world_size);
  });
}

std::optional<int64_t> LargestThatFits(int64_t limit, int64_t step, const std::function<bool(int64_t)>& fits) {
  int64_t low = 0;  // fits, or 0
  int64_t high = limit / step + 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle * step) ? low : high) = middle;
  }
  if (low == limit / step && limit % step != 0 && fits(limit)) return limit;
  return low > 0 ? std::optional(low * step) : std::nullopt;
}

}  // namespace switchyard
