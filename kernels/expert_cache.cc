#include "kernels/expert_cache.h"

#include <algorithm>
#include <tuple>

#include "kernels/check.h"

namespace switchyard {

ExpertCacheStats& ExpertCacheStats::operator+=(const ExpertCacheStats& other) {
  num_needed += other.num_needed;
  num_hits += other.num_hits;
  num_prefetched += other.num_prefetched;
  num_prefetch_hits += other.num_prefetch_hits;
  bytes_copied += other.bytes_copied;
  stall_seconds += other.stall_seconds;
  return *this;
}

ExpertCacheStats& ExpertCacheStats::operator-=(const ExpertCacheStats& other) {
  num_needed -= other.num_needed;
  num_hits -= other.num_hits;
  num_prefetched -= other.num_prefetched;
  num_prefetch_hits -= other.num_prefetch_hits;
  bytes_copied -= other.bytes_copied;
  stall_seconds -= other.stall_seconds;
  return *this;
}

ExpertCache::ExpertCache(int num_experts, int num_places)
    : place_of_expert_(static_cast<size_t>(num_experts), -1),
      expert_of_place_(static_cast<size_t>(num_places), -1),
      places_(static_cast<size_t>(num_places)) {
  CHECK(0 < num_places && num_places <= num_experts);
}

int ExpertCache::Victim() const {
  int victim = -1;
  for (int place = 0; place < num_places(); ++place) {
    const Place& candidate = places_[static_cast<size_t>(place)];
    if (candidate.protected_at == call_) continue;
    if (victim < 0) {
      victim = place;
      continue;
    }
    const Place& best = places_[static_cast<size_t>(victim)];
    if (std::tuple(candidate.is_prefetched, candidate.last_use) < std::tuple(best.is_prefetched, best.last_use)) {
      victim = place;
    }
  }
  return victim;
}

void ExpertCache::Put(int expert, int place) {
  int& old = expert_of_place_[static_cast<size_t>(place)];
  if (old >= 0) place_of_expert_[static_cast<size_t>(old)] = -1;
  old = expert;
  place_of_expert_[static_cast<size_t>(expert)] = place;
}

std::vector<ExpertCache::Load> ExpertCache::Require(std::span<const int> experts) {
  CHECK_LE(experts.size(), places_.size());
  ++call_;
  std::vector<Load> loads;
  // Those that are there first, so that none of them makes room for another.
  for (const int expert : experts) {
    const int place = PlaceOf(expert);
    if (place < 0) continue;
    Place& held = places_[static_cast<size_t>(place)];
    ++stats_.num_hits;
    if (held.is_prefetched) ++stats_.num_prefetch_hits;
    held = {.last_use = call_, .protected_at = call_};
  }
  // What was prefetched and is not needed has had its turn.
  for (Place& place : places_) place.is_prefetched = false;
  for (const int expert : experts) {
    if (PlaceOf(expert) >= 0) continue;
    const int place = Victim();
    Put(expert, place);
    places_[static_cast<size_t>(place)] = {.last_use = call_, .protected_at = call_};
    loads.push_back({.expert = expert, .place = place});
  }
  stats_.num_needed += experts.size();
  return loads;
}

std::vector<ExpertCache::Load> ExpertCache::Prefetch(std::span<const int> experts) {
  ++call_;
  const size_t count = std::min(experts.size(), places_.size());
  std::vector<Load> loads;
  for (const int expert : experts.first(count)) {
    const int place = PlaceOf(expert);
    if (place >= 0) places_[static_cast<size_t>(place)].protected_at = call_;
  }
  for (const int expert : experts.first(count)) {
    if (PlaceOf(expert) >= 0) continue;
    const int place = Victim();
    Put(expert, place);
    Place& held = places_[static_cast<size_t>(place)];
    held.protected_at = call_;
    held.is_prefetched = true;
    loads.push_back({.expert = expert, .place = place});
    ++stats_.num_prefetched;
  }
  return loads;
}

}  // namespace switchyard
