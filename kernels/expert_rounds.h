// A step's experts in rounds, where they may be more than the device has places for (expert_cache.h).
//
//   8 experts, 4 places holding {0, 1, 2, 3}, needed {1, 4, 5, 6, 7}: load 4 and 5; compute 1; load 6 and 7 over what
//   was needed longest ago; compute 4 and 5; compute 6 and 7
//
// What is there is computed first, while the rest is being copied; then one half of the places fills while the other
// half is computed.
#pragma once

#include <span>

#include "absl/functional/function_ref.h"
#include "kernels/expert_cache.h"

namespace switchyard {

struct ExpertRounds {
  // Begins these copies. Whatever was computed before may be overwritten once that is done.
  absl::FunctionRef<void(std::span<const ExpertCache::Load>)> load;
  // All copies of this step have begun. Once, before the last call of `compute`.
  absl::FunctionRef<void()> all_loading;
  // Computes these, whose copies have begun at least. They keep their places until the call returns.
  absl::FunctionRef<void(std::span<const int> experts)> compute;
};

// `needed` are distinct, any number of them. Each is in one call of `compute`.
void RunInRounds(ExpertCache& cache, std::span<const int> needed, const ExpertRounds& rounds);

}  // namespace switchyard
