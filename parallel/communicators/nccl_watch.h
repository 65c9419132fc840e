// The failure and the time limit of one rank's communicator over NCCL, and the thread that watches them (nccl.h says
// what for). Internal to this folder; it knows nothing of NCCL, which is what derives from it: nccl_links.h.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "parallel/communicator.h"

namespace switchyard {

// What the rank's thread and the watching thread share.
class NcclWatch {
 public:
  // `host` is borrowed, and not used any more once Stop has returned.
  explicit NcclWatch(Communicator& host) : rank_(host.rank()), host_(host) {}
  NcclWatch(const NcclWatch&) = delete;
  NcclWatch& operator=(const NcclWatch&) = delete;
  virtual ~NcclWatch() = default;

  // The rank's thread -------------------------------------------------------------------------------------------------
  // A time limit from `since` on; false: there is one already, which stays.
  bool BeginLimit(absl::Time since, absl::Duration limit);
  void EndLimit();

  // Any thread --------------------------------------------------------------------------------------------------------
  absl::Status failure() const {
    const std::lock_guard lock(mu_);
    return failure_;
  }
  // Tells the other ranks, keeps the first reason of all, and lets the watching thread abort NCCL.
  absl::Status Fail(const absl::Status& reason);
  // An error that NCCL has met since a call returned.
  virtual absl::Status AsyncError() = 0;

  // The watching thread: until Stop or a failure; then it ends NCCL's communicator.
  void Watch();
  // False: that takes too long.
  bool Stop();

 protected:
  // What the time limit's error calls the last call.
  void NameCall(const char* name);
  // Orders all use of `host_` by the watching thread before the return of Stop.
  void LeaveHost() { const std::lock_guard lock(mu_); }

  const int rank_;
  Communicator& host_;

 private:
  // On the watching thread: before all else, and once it watches no more.
  virtual void OnBegin() = 0;
  virtual void OnEnd(bool healthy) = 0;

  mutable std::mutex mu_;
  // Guarded by mu_.
  absl::Status failure_;
  absl::Time deadline_ = absl::InfiniteFuture();
  absl::Duration limit_;
  const char* last_call_ = nullptr;  // since BeginLimit
  bool stopping_ = false;
  bool ended_ = false;
  std::condition_variable changed_;
};

// The time limit of a call outside of steps.
class CallLimit {
 public:
  CallLimit(NcclWatch& watch, absl::Time since, absl::Duration limit)
      : watch_(watch), begun_(watch.BeginLimit(since, limit)) {}
  CallLimit(const CallLimit&) = delete;
  CallLimit& operator=(const CallLimit&) = delete;
  ~CallLimit() {
    if (begun_) watch_.EndLimit();
  }

 private:
  NcclWatch& watch_;
  const bool begun_;
};

}  // namespace switchyard
