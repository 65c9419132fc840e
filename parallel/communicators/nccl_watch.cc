#include "parallel/communicators/nccl_watch.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace switchyard {
namespace {

constexpr std::chrono::milliseconds kWatchPeriod(20);
// Of the last calls to NCCL, together; what hangs longer is left behind.
constexpr std::chrono::seconds kFarewell(5);

}  // namespace

bool NcclWatch::BeginLimit(absl::Time since, absl::Duration limit) {
  const std::lock_guard lock(mu_);
  if (deadline_ != absl::InfiniteFuture()) return false;
  deadline_ = since + limit;
  limit_ = limit;
  last_call_ = nullptr;
  return true;
}

void NcclWatch::EndLimit() {
  const std::lock_guard lock(mu_);
  deadline_ = absl::InfiniteFuture();
}

void NcclWatch::NameCall(const char* name) {
  const std::lock_guard lock(mu_);
  last_call_ = name;
}

absl::Status NcclWatch::Fail(const absl::Status& reason) {
  // Of several ranks that fail at once, all give the reason of the first, as far as `host_` knows it.
  host_.Abort(reason);
  const absl::Status first = host_.Health();
  {
    const std::lock_guard lock(mu_);
    if (!failure_.ok()) return failure_;
    failure_ = first;
  }
  changed_.notify_all();
  return first;
}

void NcclWatch::Watch() {
  OnBegin();
  std::unique_lock lock(mu_);
  while (!changed_.wait_for(lock, kWatchPeriod, [this] { return stopping_ || !failure_.ok(); })) {
    absl::Status late;
    if (absl::Now() > deadline_) {
      late = absl::DeadlineExceededError(
          absl::StrCat("rank ", rank_, ": collectives were not complete within ", absl::FormatDuration(limit_),
                       last_call_ == nullptr ? "" : "; the last call: ", last_call_ == nullptr ? "" : last_call_,
                       "; another rank stays away, or a GPU hangs"));
    }
    lock.unlock();
    absl::Status found = host_.Health();
    found.Update(AsyncError());
    found.Update(late);
    if (!found.ok()) Fail(found).IgnoreError();
    lock.lock();
  }
  const bool healthy = failure_.ok();
  lock.unlock();
  OnEnd(healthy);
  lock.lock();
  ended_ = true;
  changed_.notify_all();
}

bool NcclWatch::Stop() {
  std::unique_lock lock(mu_);
  stopping_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, kFarewell, [this] { return ended_; });
}

}  // namespace switchyard
