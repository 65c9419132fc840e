// The loops of all CPU backends of one process, so that a thread that waits for another backend takes part in what that
// one computes: ranks of one process share a machine, and what one has less of, the others finish sooner.
//
// Example, two ranks of one thread each, one token whose two experts are both rank 0's: rank 1 has arrived at the
// exchange and waits; it takes ranges of rank 0's loops until those are done and rank 0 arrives too.
// Thread safety: Help may be called from any thread at any time.
#pragma once

#include <atomic>
#include <memory>

namespace switchyard {

class Loop;

class SharedLoops {
 public:
  // For up to `max_backends` backends.
  explicit SharedLoops(int max_backends);
  ~SharedLoops();

  // Takes part in loops that are open now; returns whether there was anything to do. Not from within a loop's body.
  bool Help();

  // A loop for one more backend, which owns it; lives as long as this. At most max_backends times.
  Loop& Add();

 private:
  const int max_backends_;
  const std::unique_ptr<Loop[]> loops_;
  std::atomic<int> num_loops_{0};
};

}  // namespace switchyard
