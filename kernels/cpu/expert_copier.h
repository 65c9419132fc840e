// Copies experts from their file to their places on a thread of its own, while others compute.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"

namespace switchyard {

// One copy into one place, made anew for each expert that comes there. Used by the rank's thread; `state` is the
// copier's.
struct ExpertCopy {
  const void* from = nullptr;
  void* to = nullptr;
  size_t bytes = 0;
  enum State { kDone, kWaiting, kRunning } state = kDone;  // guarded by ExpertCopier::mu_
};

// Called from the rank's thread.
class ExpertCopier {
 public:
  // RESOURCE_EXHAUSTED where there is no thread to be had.
  static absl::StatusOr<std::unique_ptr<ExpertCopier>> Create();
  // No copy is under way or waiting.
  ~ExpertCopier();

  // Begins `copy`, which stays where it is until it is done. What is `urgent` overtakes what is not.
  void Begin(ExpertCopy& copy, bool is_urgent);
  bool IsDone(const ExpertCopy& copy) const;
  // Returns when it is done; a copy that has not begun yet is made by the calling thread.
  void Await(ExpertCopy& copy);
  // Makes `copy` one that may begin again: forgets it where it has not begun (true), awaits it where it has.
  bool Drop(ExpertCopy& copy);

 private:
  ExpertCopier() = default;
  void Run();
  // Requires mu_.
  bool TakeBack(ExpertCopy& copy);

  mutable std::mutex mu_;
  std::condition_variable begun_;
  std::condition_variable done_;
  std::deque<ExpertCopy*> urgent_;   // guarded by mu_
  std::deque<ExpertCopy*> waiting_;  // guarded by mu_
  bool stopped_ = false;             // guarded by mu_
  std::thread thread_;
};

}  // namespace switchyard
