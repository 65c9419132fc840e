// How long the collectives of an MoE layer take between these very devices, and whether their data arrive unchanged:
// what `switchyard doctor` shows. (parallel/exchange_cost.h measures less, and faster, at every start.)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace switchyard {

// Bytes of a collective are those of its larger tensor on one rank: what it sends (all_to_all, reduce_scatter), what it
// receives (all_gather), or the tensor itself (all_reduce).
struct CollectiveSizes {
  int64_t small_bytes = 10'000;
  int64_t large_bytes = 20'000'000;
};

struct CollectiveTiming {
  std::string name;  // "all_to_all", "all_gather", "reduce_scatter" or "all_reduce"
  // Medians. A small one is a share of several that are queued at once, as in a step: waiting for the device counts
  // for little.
  double small_seconds = 0;
  double large_seconds = 0;
  bool intact = false;  // the larger one gave this rank the right result
};

// The sizes that are measured for `wanted`: whole rows for each of `num_ranks`.
CollectiveSizes RoundUpToRows(const CollectiveSizes& wanted, int num_ranks);

// Of the four, in tensors of backend.activation_dtype(). Every rank calls it with the same `sizes`; each gets its own
// figures. Errors are those of the communicator and the backend.
absl::StatusOr<std::vector<CollectiveTiming>> TimeCollectives(const CollectiveSizes& sizes, Backend& backend,
                                                              Communicator& communicator);

}  // namespace switchyard
