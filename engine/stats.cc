#include "engine/stats.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {

const char* Name(RejectReason reason) {
  switch (reason) {
    case RejectReason::kQueuedRequests:
      return "queued_requests";
    case RejectReason::kQueuedTokens:
      return "queued_tokens";
    case RejectReason::kQueueTime:
      return "queue_time";
  }
  CHECK(!"a reason");
  return "";
}

void Histogram::Observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
  ++count_;
}

}  // namespace switchyard
