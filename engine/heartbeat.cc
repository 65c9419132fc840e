#include "engine/heartbeat.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {

Heartbeat::Heartbeat(Communicator* processes, absl::Duration period, std::function<void(const absl::Status&)> on_loss)
    : on_loss_(std::move(on_loss)) {
  if (processes != nullptr) thread_ = std::thread([this, processes, period] { Beat(*processes, period); });
}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard lock(mu_);
    leaving_ = true;
  }
  leave_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Heartbeat::Beat(Communicator& processes, absl::Duration period) {
  std::vector<int32_t> all(static_cast<size_t>(processes.size()));
  while (true) {
    int32_t leaving;
    {
      std::unique_lock lock(mu_);
      leave_.wait_for(lock, absl::ToChronoNanoseconds(period), [this] { return leaving_; });
      leaving = leaving_ ? 1 : 0;
    }
    const absl::Status status =
        processes.AllGather(ConstTensorView::Of(std::span<const int32_t>(&leaving, 1)), TensorView::Of(std::span(all)));
    if (!status.ok()) {
      if (leaving == 0) {
        on_loss_(absl::UnavailableError(absl::StrCat("no sign of life from another process: ", status.message())));
      }
      return;
    }
    // Who leaves has nothing more to be told; what it said before is on its way through the step link.
    if (std::any_of(all.begin(), all.end(), [](int32_t leaves) { return leaves != 0; })) return;
  }
}

}  // namespace switchyard
