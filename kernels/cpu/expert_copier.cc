#include "kernels/cpu/expert_copier.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<ExpertCopier>> ExpertCopier::Create() {
  std::unique_ptr<ExpertCopier> copier(new ExpertCopier);
  try {
    copier->thread_ = std::thread([owner = copier.get()] { owner->Run(); });
  } catch (const std::system_error& e) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot start the thread that copies experts: ", e.what()));
  }
  return copier;
}

ExpertCopier::~ExpertCopier() {
  {
    const std::lock_guard lock(mu_);
    stopped_ = true;
  }
  begun_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ExpertCopier::Begin(ExpertCopy& copy, bool is_urgent) {
  {
    const std::lock_guard lock(mu_);
    copy.state = ExpertCopy::kWaiting;
    (is_urgent ? urgent_ : waiting_).push_back(&copy);
  }
  begun_.notify_one();
}

bool ExpertCopier::IsDone(const ExpertCopy& copy) const {
  const std::lock_guard lock(mu_);
  return copy.state == ExpertCopy::kDone;
}

bool ExpertCopier::TakeBack(ExpertCopy& copy) {
  if (copy.state != ExpertCopy::kWaiting) return false;
  std::erase(urgent_, &copy);
  std::erase(waiting_, &copy);
  copy.state = ExpertCopy::kDone;
  return true;
}

void ExpertCopier::Await(ExpertCopy& copy) {
  std::unique_lock lock(mu_);
  if (TakeBack(copy)) {
    lock.unlock();
    std::memcpy(copy.to, copy.from, copy.bytes);
    return;
  }
  done_.wait(lock, [&copy] { return copy.state == ExpertCopy::kDone; });
}

bool ExpertCopier::Drop(ExpertCopy& copy) {
  std::unique_lock lock(mu_);
  if (TakeBack(copy)) return true;
  done_.wait(lock, [&copy] { return copy.state == ExpertCopy::kDone; });
  return false;
}

void ExpertCopier::Run() {
  std::unique_lock lock(mu_);
  while (true) {
    begun_.wait(lock, [this] { return stopped_ || !urgent_.empty() || !waiting_.empty(); });
    if (stopped_) return;
    std::deque<ExpertCopy*>& queue = urgent_.empty() ? waiting_ : urgent_;
    ExpertCopy& copy = *queue.front();
    queue.pop_front();
    copy.state = ExpertCopy::kRunning;
    lock.unlock();
    std::memcpy(copy.to, copy.from, copy.bytes);
    lock.lock();
    copy.state = ExpertCopy::kDone;
    done_.notify_all();
  }
}

}  // namespace switchyard
