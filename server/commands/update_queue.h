// Engine updates of several requests, handed from the engine's thread to the command's.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/request.h"

namespace switchyard {

// Thread safety: Push and Pop from any thread. Unbounded: a command asks for no more than it reads.
class UpdateQueue {
 public:
  struct Item {
    size_t request_idx = 0;
    RequestUpdate update;
  };

  void Push(size_t request_idx, RequestUpdate update) {
    absl::MutexLock lock(&mu_);
    items_.push_back({request_idx, std::move(update)});
  }

  // Waits for the next update.
  Item Pop() {
    absl::MutexLock lock(&mu_, absl::Condition(
                                   +[](std::deque<Item>* items) { return !items->empty(); }, &items_));
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  absl::Mutex mu_;
  std::deque<Item> items_ ABSL_GUARDED_BY(mu_);
};

}  // namespace switchyard
