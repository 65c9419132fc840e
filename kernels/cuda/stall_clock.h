// How long a stream waits for others, measured on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <span>
#include <vector>

#include "absl/status/status.h"

namespace switchyard::cuda {

// Whether all that `event` was last recorded behind has happened.
bool HasPassed(cudaEvent_t event);

// Used from one thread.
class StallClock {
 public:
  StallClock() = default;
  StallClock(const StallClock&) = delete;
  StallClock& operator=(const StallClock&) = delete;
  ~StallClock();

  // `stream` waits for `events`.
  absl::Status Wait(cudaStream_t stream, std::span<const cudaEvent_t> events);
  // Of the waits that are over.
  double seconds();

 private:
  struct Span {
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
  };

  absl::Status Acquire(Span& span);

  std::vector<Span> open_;  // queued, in order
  std::vector<Span> idle_;
  double seconds_ = 0;
};

}  // namespace switchyard::cuda
