#include "kernels/cpu/thread_pool.h"

#include "kernels/check.h"
#include "kernels/cpu/spin.h"

namespace switchyard {

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : max_workers_(options.num_threads + options.num_guests),
      shared_loops_(options.shared_loops),
      loop_(shared_loops_ == nullptr ? own_loop_ : shared_loops_->Add()) {
  CHECK_GE(options.num_threads, 1);
  CHECK_GE(options.num_guests, 0);
  for (int i = 1; i < options.num_threads; ++i) workers_.emplace_back([this] { RunWorker(); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  loop_number_.fetch_add(1, std::memory_order_release);
  loop_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(Loop::Function function, void* context, int64_t count, int64_t smallest) {
  loop_.Open(function, context, count, smallest, max_workers_);
  if (!workers_.empty()) {
    loop_number_.fetch_add(1, std::memory_order_release);
    loop_number_.notify_all();
  }
  loop_.Work();
  loop_.Close();
}

void ThreadPool::RunWorker() {
  for (uint32_t seen = 0;;) {
    WaitWhile(loop_number_, seen, [this] { return shared_loops_ != nullptr && shared_loops_->Help(); });
    seen = loop_number_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    loop_.Join();
  }
}

}  // namespace switchyard
