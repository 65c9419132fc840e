#include "server/commands/startup.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "engine/engine_plan.h"
#include "server/life_cycle.h"

namespace switchyard {
namespace {

class ProgressLine {
 public:
  explicit ProgressLine(StartupCallback also) : also_(std::move(also)) {}

  void Show(const StartupProgress& progress) {
    if (also_ != nullptr) also_(progress);
    absl::MutexLock lock(&mu_);
    const absl::Time now = absl::Now();
    const bool is_new_phase = progress.phase != phase_;
    if (is_new_phase) {
      phase_ = progress.phase;
      phase_start_ = now;
    }
    const bool is_done = progress.phase == "ready";
    if (!is_new_phase && now - last_shown_ < (is_terminal_ ? absl::Milliseconds(100) : absl::Seconds(2))) return;
    last_shown_ = now;
    if (is_terminal_) {
      absl::FPrintF(stderr, "\r\033[K%s", is_done ? "" : Describe(progress, now));
      std::fflush(stderr);
    } else if (!is_done) {
      spdlog::info("{}", Describe(progress, now));
    }
  }

 private:
  std::string Describe(const StartupProgress& progress, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (progress.bytes_total == 0) return absl::StrCat(progress.phase, " ...");
    const double seconds = absl::ToDoubleSeconds(now - phase_start_);
    const double rate = seconds > 0 ? progress.bytes_read / seconds : 0;
    const std::string eta =
        rate > 0 ? absl::StrFormat(", %.0f s left", (progress.bytes_total - progress.bytes_read) / rate) : "";
    return absl::StrFormat("%s: %.3f of %.3f GB, %.2f GB/s%s", progress.phase, progress.bytes_read / 1e9,
                           progress.bytes_total / 1e9, rate / 1e9, eta);
  }

  // constant after construction
  const StartupCallback also_;
  const bool is_terminal_ = isatty(STDERR_FILENO) == 1;

  absl::Mutex mu_;
  std::string phase_ ABSL_GUARDED_BY(mu_);
  absl::Time phase_start_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Time last_shown_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

// OK if it is there and sound, or not there at all.
template <typename T>
absl::Status Optional(const absl::StatusOr<std::unique_ptr<T>>& opened, const char* what, std::string* summary) {
  if (opened.ok()) {
    absl::StrAppend(summary, ", ", what);
    return absl::OkStatus();
  }
  if (!absl::IsNotFound(opened.status()) && !absl::IsUnimplemented(opened.status())) return opened.status();
  absl::StrAppend(summary, ", no ", what);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Check(const EngineConfig& config) {
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = Checkpoint::Open(config.model_dir);
  if (!checkpoint.ok()) return checkpoint.status();
  const DecoderSpec& spec = (*checkpoint)->spec();
  std::string summary = absl::StrCat(config.model_dir, ": ", spec.model_type, ", ", spec.num_layers, " layers, ",
                                     spec.num_experts, " experts (top ", spec.experts_per_token, ")");
  if (absl::Status status = Optional(Tokenizer::Open(config.model_dir), "tokenizer", &summary); !status.ok()) {
    return status;
  }
  if (absl::Status status = Optional(ChatTemplate::Open(config.model_dir), "chat template", &summary); !status.ok()) {
    return status;
  }
  const absl::StatusOr<EnginePlan> plan =
      MakeEnginePlan(config, spec, config.num_local_ranks * config.launch.num_processes);
  if (!plan.ok()) return plan.status();
  return absl::StrCat(summary, "; ", plan->world_size, plan->world_size == 1 ? " rank" : " ranks", ", exchange ",
                      plan->DescribeExchange());
}

}  // namespace

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return kExitRefused;
    default:
      return kExitFailed;
  }
}

int Report(const absl::Status& status) {
  if (!status.ok()) spdlog::error("{}", std::string(status.message()));
  return ExitCodeOf(status);
}

StartupCallback ShowProgress(StartupCallback also) {
  auto line = std::make_shared<ProgressLine>(std::move(also));
  return [line = std::move(line)](const StartupProgress& progress) { line->Show(progress); };
}

int RunCheck(const Settings& settings) {
  const absl::StatusOr<std::string> summary = Check(settings.engine);
  if (!summary.ok()) {
    Report(summary.status());
    return kExitRefused;
  }
  std::cout << "ok: " << *summary << std::endl;
  return kExitOk;
}

int RunFollower(const Settings& settings) {
  StopSignals signals;
  absl::Notification done;
  const int process_idx = settings.engine.launch.process_idx;
  signals.ExpectDrain();
  std::thread watchdog([&] {
    while (!done.HasBeenNotified() && !signals.WaitFor(absl::Milliseconds(100))) {
    }
    // Rank 0's process was told to stop as well, and drains; it tells this one when it has.
    if (done.WaitForNotificationWithTimeout(settings.serve.drain_timeout + absl::Seconds(10))) return;
    spdlog::error("process {}: rank 0 did not stop in time; quitting", process_idx);
    _exit(kExitFailed);
  });
  spdlog::info("process {} of {}: following rank 0 at {}:{}", process_idx, settings.engine.launch.num_processes,
               settings.engine.launch.master_addr, settings.engine.launch.master_port);
  const absl::Status status = ServeFollower(settings.engine, ShowProgress());
  done.Notify();
  watchdog.join();
  if (status.ok()) spdlog::info("process {}: rank 0 has stopped; done", process_idx);
  return Report(status);
}

}  // namespace switchyard
