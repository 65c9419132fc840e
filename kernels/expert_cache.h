// Which of a layer's experts lie on the device where there is not room for all: a cache of places, and what to copy.
//
//   4 experts, 2 places; needed in turn {0, 1}, {1, 2}, {0, 2}:
//     load 0 to place 0, 1 to 1; then 2 to place 0 (0 was needed longest ago); then 0 to place 1
//
// Plain logic: copies nothing. Whoever needs more experts at once than there are places takes them in rounds
// (expert_rounds.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

// Of one layer or, added up, of several. Every load counts as a miss or as prefetched:
//   bytes_copied = (num_needed - num_hits + num_prefetched) * bytes of an expert, less prefetches that another load
//   overtook before they began
struct ExpertCacheStats {
  uint64_t num_needed = 0;         // experts that steps needed
  uint64_t num_hits = 0;           // of these, those that were there or on their way
  uint64_t num_prefetched = 0;     // copied before they were known to be needed
  uint64_t num_prefetch_hits = 0;  // of these, those that the next step did need
  uint64_t bytes_copied = 0;
  double stall_seconds = 0;  // computation waited for copies

  ExpertCacheStats& operator+=(const ExpertCacheStats& other);
  ExpertCacheStats& operator-=(const ExpertCacheStats& other);  // what came after `other`
};

// Used from one thread at a time.
class ExpertCache {
 public:
  // 0 < num_places <= num_experts. At first all places are empty.
  ExpertCache(int num_experts, int num_places);

  struct Load {
    int expert = 0;
    int place = 0;
    bool operator==(const Load&) const = default;
  };

  int num_places() const { return static_cast<int>(expert_of_place_.size()); }
  // -1: not on the device.
  int PlaceOf(int expert) const { return place_of_expert_[static_cast<size_t>(expert)]; }

  // Makes room for all of `experts`, distinct and at most num_places(), in place of those needed longest ago; what is
  // to be copied now. Counts.
  std::vector<Load> Require(std::span<const int> experts);
  // The same for experts that are likely to be needed next, the likeliest first, as far as there are places. They are
  // not evicted before a Require was without them.
  std::vector<Load> Prefetch(std::span<const int> experts);

  // What this class knows: bytes and stalls are counted by whoever copies.
  const ExpertCacheStats& stats() const { return stats_; }

 private:
  struct Place {
    uint64_t last_use = 0;       // number of the Require that needed it last; 0: none
    uint64_t protected_at = 0;   // number of the Require or Prefetch call during which it must stay
    bool is_prefetched = false;  // by the last Prefetch, and not yet asked for
  };

  // The place whose expert is to go: none of this call's.
  int Victim() const;
  void Put(int expert, int place);

  std::vector<int> place_of_expert_;  // [num_experts]
  std::vector<int> expert_of_place_;  // [num_places]; -1: empty
  std::vector<Place> places_;
  uint64_t call_ = 0;
  ExpertCacheStats stats_;
};

}  // namespace switchyard
