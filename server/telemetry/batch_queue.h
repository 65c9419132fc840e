// A bounded queue with a thread of its own that takes what came in batches: for work that must not hold up a request.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace switchyard {

// Thread safety: every member from any thread.
template <typename T>
class BatchQueue {
 public:
  struct Options {
    size_t capacity = 0;    // waiting; more are dropped
    size_t max_batch = 0;   // of one call of `consume`
    absl::Duration period;  // a batch is taken when it is full, or so long after its first entry
  };
  // `consume` runs on the queue's thread, one call at a time; false: the batch is lost.
  BatchQueue(const Options& options, std::function<bool(std::vector<T>)> consume)
      : options_(options), consume_(std::move(consume)), thread_([this] { Run(); }) {}
  // Consumes what waits, until a batch is lost.
  ~BatchQueue() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    thread_.join();
  }
  BatchQueue(const BatchQueue&) = delete;
  BatchQueue& operator=(const BatchQueue&) = delete;

  // Does not block: what finds no room is dropped, and counted.
  void Push(T value) {
    absl::MutexLock lock(&mu_);
    if (stopping_ || waiting_.size() >= options_.capacity) {
      ++dropped_;
      return;
    }
    waiting_.push_back(std::move(value));
  }

  uint64_t consumed() const {
    absl::MutexLock lock(&mu_);
    return consumed_;
  }
  uint64_t dropped() const {
    absl::MutexLock lock(&mu_);
    return dropped_;
  }

 private:
  void Run() {
    while (true) {
      std::vector<T> batch;
      bool last;
      {
        absl::MutexLock lock(&mu_);
        const auto any = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_ || !waiting_.empty(); };
        mu_.Await(absl::Condition(&any));
        const auto due = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
          return stopping_ || waiting_.size() >= options_.max_batch;
        };
        mu_.AwaitWithTimeout(absl::Condition(&due), options_.period);
        const size_t size = std::min(waiting_.size(), options_.max_batch);
        const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(size);
        batch.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
        waiting_.erase(waiting_.begin(), end);
        last = stopping_ && waiting_.empty();
      }
      if (!batch.empty() && !Consume(std::move(batch))) last = true;
      if (last) return;
    }
  }

  // False: the batch is lost, and there is no time to lose more.
  bool Consume(std::vector<T> batch) {
    const size_t size = batch.size();
    const bool ok = consume_(std::move(batch));
    absl::MutexLock lock(&mu_);
    (ok ? consumed_ : dropped_) += size;
    return ok || !stopping_;
  }

  // constant after construction
  const Options options_;
  const std::function<bool(std::vector<T>)> consume_;

  mutable absl::Mutex mu_;
  std::vector<T> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t consumed_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread thread_;
};

}  // namespace switchyard
