#include "kernels/expert_rounds.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/check.h"

namespace switchyard {

void RunInRounds(ExpertCache& cache, std::span<const int> needed, const ExpertRounds& rounds) {
  std::vector<int> hits;
  std::vector<int> misses;
  for (const int expert : needed) (cache.PlaceOf(expert) >= 0 ? hits : misses).push_back(expert);
  // Also where there are none: this is when the last prefetch's guesses have had their turn.
  CHECK(cache.Require(hits).empty());

  const auto num_places = static_cast<size_t>(cache.num_places());
  const size_t half = std::max<size_t>(1, num_places / 2);
  std::span<const int> ready = hits;  // to be computed next
  std::span<const int> rest = misses;
  if (rest.empty()) rounds.all_loading();
  while (!ready.empty() || !rest.empty()) {
    // `ready` was required last, so that no other expert has less reason to go: as long as the next round fits beside
    // it, the cache finds places for that elsewhere.
    const size_t room = num_places - ready.size();
    const std::span<const int> next = rest.first(rest.size() <= room ? rest.size() : std::min(room, half));
    rest = rest.subspan(next.size());
    if (!next.empty()) {
      rounds.load(cache.Require(next));
      if (rest.empty()) rounds.all_loading();
    }
    if (!ready.empty()) rounds.compute(ready);
    ready = next;
  }
}

}  // namespace switchyard
