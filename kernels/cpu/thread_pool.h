// Threads for the loops of one Backend.
//
// The thread that calls ParallelFor takes part; the others spin for some microseconds, as steps follow each other
// closely, and then sleep. A loop ends when its work is done: it does not wait for a thread that the system has not
// run meanwhile. With one thread nothing is started and a loop is a plain call.
// Thread safety: one caller at a time. A loop's body must not call ParallelFor of the same pool, and must not throw.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace switchyard {

class ThreadPool {
 public:
  // num_threads >= 1 counts the caller.
  explicit ThreadPool(int num_threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end) on disjoint ranges that cover [0, count); each but the last has `grain` elements. Which
  // thread gets which range is not fixed, so the result must not depend on it. Returns when all are done.
  template <typename Body>
  void ParallelFor(int64_t count, int64_t grain, Body&& body) {
    grain = std::max<int64_t>(grain, 1);
    if (workers_.empty() || count <= grain) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    Run([](void* context, int64_t begin, int64_t end) { (*static_cast<Plain*>(context))(begin, end); },
        const_cast<std::remove_const_t<Plain>*>(&body), count, grain);
  }

  // As ParallelFor, with body(worker, begin, end): worker in [0, num_threads) belongs to one thread at a time, so it
  // may index that thread's scratch.
  template <typename Body>
  void ParallelForWorkers(int64_t count, int64_t grain, Body&& body) {
    grain = std::max<int64_t>(grain, 1);
    const int64_t workers = std::min<int64_t>(num_threads(), (count + grain - 1) / grain);
    std::atomic<int64_t> next{0};
    ParallelFor(workers, 1, [&](int64_t worker_begin, int64_t worker_end) {
      for (int64_t worker = worker_begin; worker < worker_end; ++worker) {
        for (int64_t i = next.fetch_add(grain); i < count; i = next.fetch_add(grain)) {
          body(static_cast<int>(worker), i, std::min(count, i + grain));
        }
      }
    });
  }

  // A grain that gives every thread a few ranges of at least `smallest` elements: enough to even out unequal threads.
  int64_t Grain(int64_t count, int64_t smallest) const {
    return std::max(smallest, (count + 4 * num_threads() - 1) / (4 * num_threads()));
  }

 private:
  using Function = void (*)(void* context, int64_t begin, int64_t end);

  void Run(Function function, void* context, int64_t count, int64_t grain);
  void Work();  // takes ranges of the current loop until none is left
  void RunWorker();

  // The current loop; written while it is closed and no worker inside, read by workers inside.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  int64_t grain_ = 1;
  std::atomic<int64_t> next_{0};  // first element that nobody has taken

  static constexpr uint32_t kClosed = uint32_t{1} << 31;
  std::atomic<uint32_t> inside_{kClosed};  // workers inside the loop; kClosed: none may begin
  std::atomic<uint32_t> loop_{0};          // number of the current loop, what idle workers wait for
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace switchyard
