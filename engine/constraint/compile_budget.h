// What compiling one constraint may cost. Keeps the first excess; builders stop growing once there is one.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace switchyard {

// Of one constraint; the names are those that error messages give.
struct ConstraintLimits {
  int64_t max_bytes = 256 << 10;   // of the schema, the pattern, or all choices
  int64_t max_depth = 64;          // nesting of the schema's text, of a pattern's groups, of allOf and $ref chains
  int64_t max_members = 2048;      // of one object of the schema's text
  int64_t max_states = 64 << 10;   // of the automaton, those under construction included
  int64_t max_steps = 20'000'000;  // elementary steps of the compiler
  absl::Duration max_time = absl::Seconds(2);
};

// Not thread-safe: belongs to one compilation.
class CompileBudget {
 public:
  explicit CompileBudget(const ConstraintLimits& limits);

  // False, now and ever after, once a limit is passed or a fault was noted.
  bool SpendSteps(int64_t count);
  bool SpendStates(int64_t count);
  bool ok() const { return status_.ok(); }
  // Only the first fault is kept.
  void Fail(absl::Status status) { status_.Update(std::move(status)); }
  // INVALID_ARGUMENT with the limit's name and value, or the first fault.
  const absl::Status& status() const { return status_; }
  const ConstraintLimits& limits() const { return limits_; }

 private:
  const ConstraintLimits limits_;
  const absl::Time deadline_;
  int64_t steps_ = 0;
  int64_t steps_at_next_look_ = 0;  // at the clock
  int64_t states_ = 0;
  absl::Status status_;
};

}  // namespace switchyard
