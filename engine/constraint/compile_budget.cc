#include "engine/constraint/compile_budget.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace switchyard {

CompileBudget::CompileBudget(const ConstraintLimits& limits)
    : limits_(limits), deadline_(absl::Now() + limits.max_time) {}

bool CompileBudget::SpendSteps(int64_t count) {
  steps_ += count;
  if (steps_ > limits_.max_steps) {
    Fail(absl::InvalidArgumentError(absl::StrCat(
        "takes more than ", limits_.max_steps, " steps to compile; simplify it: fewer alternatives, shorter ranges")));
  }
  if (steps_ >= steps_at_next_look_) {
    constexpr int64_t kStepsBetweenLooks = 1 << 14;
    steps_at_next_look_ = steps_ + kStepsBetweenLooks;
    if (absl::Now() > deadline_) {
      Fail(absl::InvalidArgumentError(absl::StrCat("takes more than ", absl::FormatDuration(limits_.max_time),
                                                   " to compile; simplify it: fewer alternatives, shorter ranges")));
    }
  }
  return ok();
}

bool CompileBudget::SpendStates(int64_t count) {
  states_ += count;
  if (states_ > limits_.max_states) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("needs an automaton of more than ", limits_.max_states,
                     " states; lower maxLength, maxItems or repetition counts, or name fewer alternatives")));
  }
  return SpendSteps(count);
}

}  // namespace switchyard
