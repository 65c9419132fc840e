// What the engine has said of the choices of one HTTP request and the client has not yet been sent. Bounded.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/request.h"

namespace switchyard::openai {

// Appends what `later` adds to `update`, as if both had come in one step.
void Merge(RequestUpdate later, RequestUpdate* update);

// Thread safety: every member from any thread. The engine's callbacks hold it shared and may outlive the request.
class Mailbox {
 public:
  struct Options {
    size_t num_choices = 1;
    size_t merge_after = 32;  // unread updates of one choice; beyond them the newest two become one. 0: always one
    size_t max_bytes = 0;     // unread; beyond them the mailbox is full. 0: no limit
  };
  explicit Mailbox(const Options& options);

  enum class Delivery {
    kKept,
    kOverflowed,  // this update was the one too many: abort the request. Told once
    kDropped,     // closed or overflowed before
  };
  // From the engine's thread; the lock is held for a move only.
  Delivery Put(size_t choice, RequestUpdate update);

  struct Letter {
    size_t choice = 0;
    RequestUpdate update;
  };
  // All unread updates: by choice, and in order within a choice.
  std::vector<Letter> TakeAll();

  size_t num_finished() const;
  bool overflowed() const;
  // Drops what is unread and all that comes.
  void Close();

 private:
  const Options options_;

  mutable absl::Mutex mu_;
  std::vector<std::vector<RequestUpdate>> unread_ ABSL_GUARDED_BY(mu_);  // [num_choices]
  size_t unread_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t num_finished_ ABSL_GUARDED_BY(mu_) = 0;
  bool overflowed_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace switchyard::openai
