#include "bench/gpu_timing.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/cuda/graph.h"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/status.h"

namespace switchyard {
namespace {

using cuda::ToStatus;

// Long enough that an event's resolution (half a microsecond) and the start of a graph do not count.
constexpr double kGraphSeconds = 2e-3;
constexpr int64_t kMaxLaunches = 1024;
constexpr int64_t kMinReplays = 5;
constexpr int64_t kMaxReplays = 200;

class Event {
 public:
  Event() { status_ = ToStatus(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(const Event&) = delete;
  ~Event() { (void)cudaEventDestroy(event_); }

  absl::Status Record(cuda::Stream stream) {
    return status_.ok() ? ToStatus(cudaEventRecord(event_, stream), "cudaEventRecord") : status_;
  }
  absl::StatusOr<double> SecondsSince(const Event& begin) const {
    float milliseconds = 0;
    absl::Status status = ToStatus(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
    if (!status.ok()) return status;
    return milliseconds * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
  absl::Status status_;
};

class Replays {
 public:
  Replays(const TimedLaunches& work, cuda::Stream stream) : work_(work), stream_(stream) {}

  // Loads modules, and lets libraries choose their algorithms, which a capture forbids.
  absl::Status WarmUp() {
    absl::Status status = LaunchSets();
    status.Update(ToStatus(cudaStreamSynchronize(stream_), "warm-up"));
    return status;
  }

  absl::Status Capture(int64_t rounds) {
    absl::StatusOr<std::unique_ptr<RecordedWork>> graph = cuda::Graph::Capture(stream_, [&] {
      absl::Status status;
      for (int64_t i = 0; i < rounds && status.ok(); ++i) status = LaunchSets();
      return status;
    });
    if (!graph.ok()) return graph.status();
    graph_ = *std::move(graph);
    return absl::OkStatus();
  }

  // Seconds of each of `count` replays. All are queued before the first is waited for: the host is not on the way.
  absl::StatusOr<std::vector<double>> Run(int64_t count) {
    std::vector<Event> begin(static_cast<size_t>(count));
    std::vector<Event> end(static_cast<size_t>(count));
    absl::Status status = Launch();
    for (size_t i = 0; i < begin.size() && status.ok(); ++i) {
      if (work_.evict != nullptr) {
        status = ToStatus(cudaMemsetAsync(work_.evict, static_cast<int>(i), work_.evict_bytes, stream_), "eviction");
      }
      status.Update(begin[i].Record(stream_));
      status.Update(Launch());
      status.Update(end[i].Record(stream_));
    }
    status.Update(ToStatus(cudaStreamSynchronize(stream_), "timed launches"));
    std::vector<double> seconds;
    for (size_t i = 0; i < begin.size() && status.ok(); ++i) {
      absl::StatusOr<double> elapsed = end[i].SecondsSince(begin[i]);
      if (!elapsed.ok()) return elapsed.status();
      seconds.push_back(*elapsed);
    }
    if (!status.ok()) return status;
    std::sort(seconds.begin(), seconds.end());
    return seconds;
  }

 private:
  absl::Status LaunchSets() {
    absl::Status status;
    for (int64_t set = 0; set < work_.num_sets && status.ok(); ++set) status = work_.launch(set);
    status.Update(ToStatus(cuda::TakeLaunchFailure(), "launch"));
    return status;
  }
  absl::Status Launch() { return static_cast<cuda::Graph&>(*graph_).Launch(stream_); }

  const TimedLaunches& work_;
  const cuda::Stream stream_;
  std::unique_ptr<RecordedWork> graph_;
};

}  // namespace

absl::StatusOr<LaunchTime> TimeLaunches(const TimedLaunches& work, double seconds, cuda::Stream stream) {
  Replays replays(work, stream);
  absl::Status status = replays.WarmUp();
  status.Update(replays.Capture(1));
  if (!status.ok()) return status;
  absl::StatusOr<std::vector<double>> times = replays.Run(2);
  if (!times.ok()) return times.status();
  double estimate = std::max(1e-7, times->front());

  int64_t rounds = 1;
  if (work.evict == nullptr) {
    const auto wanted = static_cast<int64_t>(std::ceil(std::min(kGraphSeconds, seconds) / estimate));
    rounds = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, kMaxLaunches / work.num_sets));
    status = replays.Capture(rounds);
    if (!status.ok()) return status;
    estimate *= static_cast<double>(rounds);
  }
  const auto wanted = static_cast<int64_t>(seconds / estimate);
  times = replays.Run(std::clamp(wanted, kMinReplays, kMaxReplays));
  if (!times.ok()) return times.status();
  const size_t count = times->size();
  const double median = (*times)[count / 2];
  return LaunchTime{.seconds = median / static_cast<double>(rounds * work.num_sets),
                    .relative_spread = median > 0 ? ((*times)[count * 3 / 4] - (*times)[count / 4]) / median : 0};
}

}  // namespace switchyard
