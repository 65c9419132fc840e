#include "engine/rate_meter.h"

#include <algorithm>
#include <cmath>

namespace switchyard {
namespace {

// Until then the first few events, which come together, would count as a rate.
constexpr absl::Duration kWarmUp = absl::Seconds(1);

}  // namespace

double RateMeter::Faded(absl::Time now) const { return sum_ * std::exp(-absl::FDivDuration(now - last_, memory_)); }

void RateMeter::Add(double count, absl::Time now) {
  if (first_ == absl::InfiniteFuture()) first_ = last_ = now;
  sum_ = Faded(now) + count;
  last_ = now;
}

double RateMeter::PerSecond(absl::Time now) const {
  if (first_ == absl::InfiniteFuture()) return 0;
  // The weight of all the past there is.
  const double seen = 1 - std::exp(-absl::FDivDuration(std::max(now - first_, kWarmUp), memory_));
  return Faded(now) / (absl::ToDoubleSeconds(memory_) * seen);
}

}  // namespace switchyard
