#include "server/commands/startup.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <iostream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "engine/engine_plan.h"
#include "server/commands/progress_line.h"
#include "server/life_cycle.h"

namespace switchyard {
namespace {

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
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = Checkpoint::Open(config.model_dir, config.quantize);
  if (!checkpoint.ok()) return checkpoint.status();
  const DecoderSpec& spec = (*checkpoint)->spec();
  std::string summary = absl::StrCat(config.model_dir, ": ", spec.model_type, ", ", spec.num_layers, " layers, ",
                                     spec.num_experts, " experts (top ", spec.experts_per_token, ")");
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Open(config.model_dir);
  absl::Status status = Optional(tokenizer, "tokenizer", &summary);
  if (status.ok() && tokenizer.ok()) {
    status = Optional(ChatTemplate::Open(config.model_dir, **tokenizer), "chat template", &summary);
  }
  if (!status.ok()) return status;
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
    case absl::StatusCode::kAlreadyExists:
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
  auto line = std::make_shared<ProgressLine>();
  return [line = std::move(line), also = std::move(also)](const StartupProgress& progress) {
    if (also != nullptr) also(progress);
    if (progress.phase == "ready") return line->End();
    line->Show({.what = progress.phase == "load" ? "loading" : progress.phase,
                .shard = progress.shard,
                .num_shards = progress.num_shards,
                .shard_path = progress.shard_path,
                .bytes_done = progress.bytes_read,
                .bytes_total = progress.bytes_total});
  };
}

void LogWarnings(const Engine& engine) {
  for (const std::string& warning : engine.model_info().warnings) spdlog::warn("{}", warning);
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
