#include "kernels/cuda/stall_clock.h"

#include <algorithm>

#include "kernels/cuda/status.h"

namespace switchyard::cuda {

bool HasPassed(cudaEvent_t event) {
  if (cudaEventQuery(event) == cudaSuccess) return true;
  (void)cudaGetLastError();  // "not ready" is no error
  return false;
}

StallClock::~StallClock() {
  for (const std::vector<Span>* spans : {&open_, &idle_}) {
    for (const Span& span : *spans) {
      (void)cudaEventDestroy(span.begin);
      (void)cudaEventDestroy(span.end);
    }
  }
}

absl::Status StallClock::Acquire(Span& span) {
  if (!idle_.empty()) {
    span = idle_.back();
    idle_.pop_back();
    return absl::OkStatus();
  }
  absl::Status status = ToStatus(cudaEventCreate(&span.begin), "cudaEventCreate");
  if (!status.ok()) return status;
  status = ToStatus(cudaEventCreate(&span.end), "cudaEventCreate");
  if (!status.ok()) (void)cudaEventDestroy(span.begin);
  return status;
}

absl::Status StallClock::Wait(cudaStream_t stream, std::span<const cudaEvent_t> events) {
  Span span;
  absl::Status status = Acquire(span);
  if (!status.ok()) return status;
  status.Update(ToStatus(cudaEventRecord(span.begin, stream), "cudaEventRecord"));
  for (cudaEvent_t event : events)
    status.Update(ToStatus(cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent"));
  status.Update(ToStatus(cudaEventRecord(span.end, stream), "cudaEventRecord"));
  (status.ok() ? open_ : idle_).push_back(span);
  return status;
}

double StallClock::seconds() {
  const auto is_open = [this](const Span& span) {
    float milliseconds = 0;
    if (!HasPassed(span.end)) return true;
    if (cudaEventElapsedTime(&milliseconds, span.begin, span.end) == cudaSuccess) seconds_ += 1e-3 * milliseconds;
    return false;
  };
  const auto first_open = std::find_if(open_.begin(), open_.end(), is_open);
  idle_.insert(idle_.end(), open_.begin(), first_open);
  open_.erase(open_.begin(), first_open);
  return seconds_;
}

}  // namespace switchyard::cuda
