#include "server/http/wake_signal.h"

#include <boost/asio/post.hpp>
#include <chrono>

namespace switchyard::http {

WakeSignal::WakeSignal(const Strand& strand) : timer_(strand), target_(std::make_shared<Target>()) {
  target_->signal = this;
}

Waker WakeSignal::MakeWaker() {
  return [target = target_] {
    std::lock_guard lock(target->mu);
    if (target->signal == nullptr || target->posted) return;
    std::shared_ptr<WakeSignal> self = target->signal->weak_from_this().lock();
    if (self == nullptr) return;
    target->posted = true;
    boost::asio::post(self->timer_.get_executor(), [self] {
      {
        std::lock_guard lock(self->target_->mu);
        self->target_->posted = false;
      }
      self->woken_ = true;
      self->timer_.cancel();
    });
  };
}

void WakeSignal::Detach() {
  std::lock_guard lock(target_->mu);
  target_->signal = nullptr;
}

Awaitable<void> WakeSignal::Sleep() {
  timer_.expires_at(std::chrono::steady_clock::time_point::max());
  co_await timer_.async_wait(kAwait);
}

}  // namespace switchyard::http
