// Time of launches on a GPU, taken with CUDA events around replays of a CUDA graph.
//
// A graph holds many launches, so that what is measured is the kernel and the step to the next one, as in a recorded
// decode step, and not the host's own time per launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/stream.h"

namespace switchyard {

struct TimedLaunches {
  // Queues the work once, on set `set` of its buffers.
  std::function<absl::Status(int64_t set)> launch;
  int64_t num_sets = 1;  // a graph goes through all of them, once or several times
  // Device memory that is overwritten before every replay, so that a graph that goes through its sets once finds them
  // in no cache. Null: the sets are large enough, or belong in the cache.
  void* evict = nullptr;
  size_t evict_bytes = 0;
};

struct LaunchTime {
  double seconds = 0;          // of one launch: the median of all replays, over the launches of a graph
  double relative_spread = 0;  // between the quartiles of the replays, of the median
};

// Replays for about `seconds` after a warm-up, five times at least.
absl::StatusOr<LaunchTime> TimeLaunches(const TimedLaunches& work, double seconds, cuda::Stream stream);

}  // namespace switchyard
