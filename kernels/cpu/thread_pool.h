// Threads for the loops of one Backend.
//
// The thread that calls ParallelFor takes part; the others spin for some microseconds, as steps follow each other
// closely, and then sleep. A loop ends when its work is done: it does not wait for a thread that the system has not
// run meanwhile. With one thread and no guests nothing is started and a loop is a plain call.
// Thread safety: one caller at a time. A loop's body must not call ParallelFor of the same pool, and must not throw.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/cpu/loop.h"
#include "kernels/cpu/loop_ranges.h"
#include "kernels/shared_loops.h"

namespace switchyard {

struct ThreadPoolOptions {
  int num_threads = 1;  // the caller counts
  // Threads of other pools that may take part through `shared_loops`, at most. This pool's threads take part in the
  // others' loops while they spin.
  int num_guests = 0;
  std::shared_ptr<SharedLoops> shared_loops;  // null: none
};

class ThreadPool {
 public:
  explicit ThreadPool(const ThreadPoolOptions& options);
  explicit ThreadPool(int num_threads) : ThreadPool(ThreadPoolOptions{.num_threads = num_threads}) {}
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  // Of its own.
  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }
  // Threads that may be in a loop at a time, guests included.
  int max_workers() const { return max_workers_; }

  // Calls body(begin, end) on disjoint ranges that cover [0, count), none but the last smaller than `smallest`. Which
  // thread gets which range is not fixed, so the result must not depend on it. Returns when all are done.
  template <typename Body>
  void ParallelFor(int64_t count, int64_t smallest, Body&& body) {
    smallest = std::max<int64_t>(smallest, 1);
    if (max_workers_ == 1 || count <= smallest) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    Run([](void* context, int64_t begin, int64_t end) { (*static_cast<Plain*>(context))(begin, end); },
        const_cast<std::remove_const_t<Plain>*>(&body), count, smallest);
  }

  // As ParallelFor, with body(worker, begin, end): worker in [0, max_workers) belongs to one thread at a time, so it
  // may index that thread's scratch.
  template <typename Body>
  void ParallelForWorkers(int64_t count, int64_t smallest, Body&& body) {
    smallest = std::max<int64_t>(smallest, 1);
    const int64_t workers = std::min<int64_t>(max_workers_, (count + smallest - 1) / smallest);
    worker_ranges_.Reset(count, smallest, max_workers_);
    ParallelFor(workers, 1, [&](int64_t worker_begin, int64_t worker_end) {
      for (int64_t worker = worker_begin; worker < worker_end; ++worker) {
        LoopRanges::Taker taker(worker_ranges_);
        int64_t begin = 0, end = 0;
        while (taker.Take(begin, end)) body(static_cast<int>(worker), begin, end);
      }
    });
  }

 private:
  void Run(Loop::Function function, void* context, int64_t count, int64_t smallest);
  void RunWorker();

  const int max_workers_;
  const std::shared_ptr<SharedLoops> shared_loops_;
  Loop own_loop_;  // used where none is shared
  Loop& loop_;
  LoopRanges worker_ranges_;              // of ParallelForWorkers, where the loop's elements are the workers
  std::atomic<uint32_t> loop_number_{0};  // of the current loop, what idle workers wait for
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace switchyard
