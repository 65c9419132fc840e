// How often ranks that were lost are built anew before the process gives up.
#pragma once

#include "absl/time/time.h"

namespace switchyard {

class RestartBudget {
 public:
  // Ranks that have served for so long were sound: the next loss has all tries again.
  static constexpr absl::Duration kTrusted = absl::Minutes(10);

  explicit RestartBudget(int max_tries) : max_tries_(max_tries) {}

  // After ranks were lost that had served for `served`, or could not be built (zero). False: no try is left.
  bool Take(absl::Duration served) {
    if (served >= kTrusted) num_taken_ = 0;
    if (num_taken_ >= max_tries_) return false;
    ++num_taken_;
    return true;
  }
  int num_taken() const { return num_taken_; }
  int max_tries() const { return max_tries_; }

 private:
  const int max_tries_;
  int num_taken_ = 0;
};

}  // namespace switchyard
