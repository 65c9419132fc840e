#include "engine/queue_bounds.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/retry_after.h"

namespace switchyard {
namespace {

constexpr double kMaxRetrySeconds = 60;

}  // namespace

Scheduler::Backlog QueueBounds::waiting() const {
  return {.requests = queued_.requests + arrived_.requests,
          .prompt_tokens = queued_.prompt_tokens + arrived_.prompt_tokens};
}

absl::Status QueueBounds::Arrive(int64_t prompt_tokens, absl::Time now, RejectReason& reason) {
  const Scheduler::Backlog all = waiting();
  const auto refuse = [&](RejectReason why, const std::string& limit) {
    reason = why;
    const int64_t seconds = RetryAfterSeconds(now);
    return WithRetryAfter(
        absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", all.requests, " requests of ",
                                                  all.prompt_tokens, " prompt tokens wait and ", num_running_,
                                                  " run; the limit is ", limit, "; retry in about ", seconds, " s")),
        seconds);
  };
  if (all.requests >= limits_.max_requests + free_places_) {
    return refuse(RejectReason::kQueuedRequests, absl::StrCat("--max-queued-requests ", limits_.max_requests));
  }
  if (limits_.max_tokens > 0 && all.requests > 0 && all.prompt_tokens + prompt_tokens > limits_.max_tokens) {
    return refuse(RejectReason::kQueuedTokens,
                  absl::StrCat("--max-queued-tokens ", limits_.max_tokens, ", and this prompt has ", prompt_tokens));
  }
  ++arrived_.requests;
  arrived_.prompt_tokens += prompt_tokens;
  return absl::OkStatus();
}

void QueueBounds::Update(const Scheduler& scheduler) {
  queued_ = scheduler.backlog();
  num_running_ = scheduler.num_running();
  free_places_ = scheduler.num_waiting() > 0 ? 0 : std::max<int64_t>(0, limits_.max_running - num_running_);
}

int64_t QueueBounds::RetryAfterSeconds(absl::Time now) const {
  const double rate = starts_.PerSecond(now);
  const double seconds = rate > 0 ? static_cast<double>(waiting().requests) / rate : 1;
  return static_cast<int64_t>(std::ceil(std::clamp(seconds, 1.0, kMaxRetrySeconds)));
}

}  // namespace switchyard
