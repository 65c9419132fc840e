// What a connection's coroutine sleeps on: woken on the strand, or through a Waker from any thread. Internal to this
// folder.
#pragma once

#include <memory>
#include <mutex>

#include "server/http/answer.h"
#include "server/http/connection.h"
#include "server/http/stream.h"

namespace switchyard::http {

// Thread safety: the strand; what MakeWaker returns, any thread. Held by a shared_ptr.
class WakeSignal : public std::enable_shared_from_this<WakeSignal> {
 public:
  explicit WakeSignal(const Strand& strand);
  WakeSignal(const WakeSignal&) = delete;
  WakeSignal& operator=(const WakeSignal&) = delete;
  ~WakeSignal() { Detach(); }

  Waker MakeWaker();
  // From now on wakers do nothing, and nothing of them touches the strand.
  void Detach();

  // Whether a waker was called since Forget.
  bool woken() const { return woken_; }
  void Forget() { woken_ = false; }

  // Until a waker is called, or Interrupt.
  Awaitable<void> Sleep();
  void Interrupt() { timer_.cancel(); }

 private:
  // Outlives the signal in the wakers that were handed out.
  struct Target {
    std::mutex mu;
    WakeSignal* signal = nullptr;  // guarded by mu; null once it is detached
    bool posted = false;           // guarded by mu; a wake is on its way
  };

  Timer timer_;
  const std::shared_ptr<Target> target_;
  bool woken_ = false;
};

}  // namespace switchyard::http
