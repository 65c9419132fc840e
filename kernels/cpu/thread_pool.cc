#include "kernels/cpu/thread_pool.h"

#include "hwy/cache_control.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// Some 10 to 20 microseconds: about what a futex wake-up costs.
constexpr int kSpins = 400;

// Returns when `value` is no longer `old`.
template <typename T>
void WaitWhile(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    hwy::Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  CHECK_GE(num_threads, 1);
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { RunWorker(); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  loop_.fetch_add(1, std::memory_order_release);
  loop_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(Function function, void* context, int64_t count, int64_t grain) {
  function_ = function;
  context_ = context;
  count_ = count;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  inside_.fetch_and(~kClosed, std::memory_order_release);
  loop_.fetch_add(1, std::memory_order_release);
  loop_.notify_all();
  Work();
  uint32_t inside = inside_.fetch_or(kClosed, std::memory_order_acquire) | kClosed;
  while (inside != kClosed) {
    WaitWhile(inside_, inside);
    inside = inside_.load(std::memory_order_acquire);
  }
}

void ThreadPool::Work() {
  for (;;) {
    const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= count_) return;
    function_(context_, begin, std::min(count_, begin + grain_));
  }
}

void ThreadPool::RunWorker() {
  for (uint32_t seen = 0;;) {
    WaitWhile(loop_, seen);
    seen = loop_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    // One that comes late finds the loop closed, or the next one open, and takes part in that.
    const bool is_open = (inside_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0;
    if (is_open) Work();
    inside_.fetch_sub(1, std::memory_order_release);
    inside_.notify_one();
  }
}

}  // namespace switchyard
