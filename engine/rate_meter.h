// How often something has happened lately.
#pragma once

#include "absl/time/time.h"

namespace switchyard {

// An average over the past that forgets exponentially. Not thread-safe.
class RateMeter {
 public:
  // What happened `memory` ago counts 1/e of what happens now.
  explicit RateMeter(absl::Duration memory) : memory_(memory) {}

  // `now` never goes back.
  void Add(double count, absl::Time now);
  // 0 before the first Add.
  double PerSecond(absl::Time now) const;

 private:
  double Faded(absl::Time now) const;

  const absl::Duration memory_;
  absl::Time first_ = absl::InfiniteFuture();
  absl::Time last_;
  double sum_ = 0;  // at last_, faded
};

}  // namespace switchyard
