#include "engine/stats.h"

#include <algorithm>
#include <cmath>

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

double RoutingEntropy(const std::vector<uint64_t>& expert_tokens) {
  double total = 0;
  for (const uint64_t count : expert_tokens) total += static_cast<double>(count);
  double entropy = 0;
  for (const uint64_t count : expert_tokens) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / total;
    entropy -= share * std::log2(share);
  }
  return entropy;
}

int64_t NumDeadExperts(const std::vector<uint64_t>& expert_tokens) {
  return std::count(expert_tokens.begin(), expert_tokens.end(), uint64_t{0});
}

}  // namespace switchyard
