// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once.
#pragma once

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace switchyard {

// Thread safety: every member but the constructor may be called from any thread.
class StopSignals {
 public:
  // Blocks both signals in this thread and in those that it starts, and ignores SIGPIPE: construct it before any other
  // thread exists. Until ExpectDrain, while there is nothing to drain, the first signal ends the process, too.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void ExpectDrain() { drain_expected_ = true; }
  // True once the first signal has come; waits for it for `limit` at most.
  bool WaitFor(absl::Duration limit) const { return first_.WaitForNotificationWithTimeout(limit); }

 private:
  void Run();

  std::atomic<bool> drain_expected_{false};
  std::atomic<bool> stopping_{false};
  absl::Notification first_;
  std::thread thread_;
};

}  // namespace switchyard
