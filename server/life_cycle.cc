#include "server/life_cycle.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <utility>

namespace switchyard {
namespace {

constexpr timespec kPollPeriod = {.tv_sec = 0, .tv_nsec = 200'000'000};  // how long the destructor may wait

sigset_t HandledSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = HandledSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  thread_ = std::thread([this] { Run(); });
}

StopSignals::~StopSignals() {
  stopping_ = true;
  thread_.join();
}

void StopSignals::OnHangup(std::function<void()> reload) {
  absl::MutexLock lock(&mu_);
  reload_ = std::move(reload);
}

void StopSignals::Run() {
  const sigset_t set = HandledSet();
  while (!stopping_) {
    const int signal_number = sigtimedwait(&set, nullptr, &kPollPeriod);
    if (signal_number < 0) continue;  // the period is over
    if (signal_number == SIGHUP) {
      absl::MutexLock lock(&mu_);
      if (reload_ != nullptr) {
        reload_();
        continue;
      }
    }
    if (first_.HasBeenNotified() || !drain_expected_) {
      spdlog::warn("{}: quitting at once", strsignal(signal_number));
      _exit(128 + signal_number);  // as a shell reports a death by signal
    }
    spdlog::info("{}: draining; once more quits at once", strsignal(signal_number));
    first_.Notify();
  }
}

}  // namespace switchyard
