// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once. SIGHUP: read
// files again; where there are none, as the others: the terminal has been closed.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace switchyard {

// Thread safety: every member but the constructor may be called from any thread.
class StopSignals {
 public:
  // Blocks these signals in this thread and in those that it starts, and ignores SIGPIPE: construct it before any other
  // thread exists. Until ExpectDrain, while there is nothing to drain, the first signal ends the process, too.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void ExpectDrain() { drain_expected_ = true; }
  // What SIGHUP does instead of stopping, on the thread of this object. Null: stopping again.
  void OnHangup(std::function<void()> reload);
  // True once the first signal has come; waits for it for `limit` at most.
  bool WaitFor(absl::Duration limit) const { return first_.WaitForNotificationWithTimeout(limit); }

 private:
  void Run();

  std::atomic<bool> drain_expected_{false};
  std::atomic<bool> stopping_{false};
  absl::Notification first_;
  absl::Mutex mu_;
  std::function<void()> reload_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace switchyard
