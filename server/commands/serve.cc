#include "server/commands/serve.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/commands/banner.h"
#include "server/commands/edge_setup.h"
#include "server/commands/startup.h"
#include "server/engine_slot.h"
#include "server/life_cycle.h"
#include "server/openai/api.h"
#include "server/rpc/grpc_server.h"

namespace switchyard {
namespace {

constexpr absl::Duration kHealthPeriod = absl::Milliseconds(200);
// How long a server whose engine has failed goes on saying so before it exits.
constexpr absl::Duration kFailureNotice = absl::Seconds(5);
// After the engine has ended every request, for the last bytes to reach slow clients.
constexpr absl::Duration kFlushLimit = absl::Seconds(5);

// For the engine's threads to come back after that.
constexpr absl::Duration kEndLimit = absl::Seconds(10);

struct FrontEnds {
  std::unique_ptr<http::Server> http;
  std::unique_ptr<GrpcServer> grpc;

  BoundPorts ports() const { return {.http = http->port(), .grpc = grpc->port()}; }
};

absl::StatusOr<FrontEnds> Listen(const ServeSettings& settings, EngineSlot* slot, Edge* edge) {
  openai::ApiConfig api;
  api.http.host = settings.http.host;
  api.http.port = settings.http.port;
  api.http.unix_path = settings.http.unix_path;
  api.http.tls_cert = settings.tls_cert;
  api.http.tls_key = settings.tls_key;
  api.http.cors_origins = settings.cors_origins;
  api.http.limits = settings.http_limits;
  if (settings.metrics_alias_vllm) api.metrics.prefixes.push_back("vllm");
  api.metrics.per_expert = settings.metrics_per_expert;
  absl::StatusOr<std::unique_ptr<http::Server>> http = openai::StartServer(api, slot, edge);
  if (!http.ok()) {
    return absl::Status(http.status().code(),
                        absl::StrCat("--http ", Format(settings.http), ": ", http.status().message()));
  }
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc = GrpcServer::Start({.host = settings.grpc.host,
                                                                        .port = settings.grpc.port,
                                                                        .unix_path = settings.grpc.unix_path,
                                                                        .tls_cert = settings.tls_cert,
                                                                        .tls_key = settings.tls_key,
                                                                        .client_ca = settings.grpc_tls_client_ca,
                                                                        .reflection = settings.grpc_reflection,
                                                                        .limits = settings.grpc_limits},
                                                                       slot, edge);
  if (!grpc.ok()) return grpc.status();
  return FrontEnds{*std::move(http), *std::move(grpc)};
}

// Written beside and renamed, so that a reader never sees half of it.
absl::Status WriteReadyFile(const std::string& path, const std::string& json) {
  const std::string temporary = path + ".tmp";
  {
    std::ofstream file(temporary);
    file << json << "\n";
    if (!file.flush()) return absl::InternalError(absl::StrCat("--ready-file ", path, ": cannot be written"));
  }
  if (std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("--ready-file ", path, ": cannot be written"));
}

// Ends the process where what is left of it does not: a thread of a lost rank may hang in its device.
class ExitGuard {
 public:
  ExitGuard(absl::Duration limit, int exit_code)
      : thread_([this, limit, exit_code] {
          if (done_.WaitForNotificationWithTimeout(limit)) return;
          spdlog::error("the engine did not end within {}; quitting", absl::FormatDuration(limit));
          _exit(exit_code);
        }) {}
  ~ExitGuard() {
    done_.Notify();
    thread_.join();
  }

 private:
  absl::Notification done_;
  std::thread thread_;
};

// Until the first signal (OK) or the failure of the engine for good. After one, clients are told for a moment longer:
// those that retry at once learn why, and then whatever supervises the process sees it end.
absl::Status WaitForStop(const StopSignals& signals, const Engine& engine, EngineSlot* slot) {
  bool was_healthy = true;
  while (!signals.WaitFor(kHealthPeriod)) {
    absl::Status failure = engine.Failure();
    if (failure.ok()) {
      const absl::Status health = engine.Health();
      if (was_healthy && !health.ok()) spdlog::error("{}", std::string(health.message()));
      if (!was_healthy && health.ok()) spdlog::info("the ranks are built anew; serving again");
      was_healthy = health.ok();
      continue;
    }
    spdlog::error("the engine has failed: {}; restart all processes of this job", std::string(failure.message()));
    slot->Fail(failure);
    signals.WaitFor(kFailureNotice);
    return failure;
  }
  return absl::OkStatus();
}

}  // namespace

int RunServe(const Settings& settings) {
  StopSignals signals;
  EngineSlot slot(settings.serve.served_model_name);
  absl::StatusOr<std::unique_ptr<Edge>> edge = MakeEdge(settings.serve);  // outlives the engine
  if (!edge.ok()) return Report(edge.status());
  std::unique_ptr<ExitGuard> exit_guard;  // outlives the engine
  std::unique_ptr<Engine> engine;         // outlives the front ends
  absl::StatusOr<FrontEnds> front_ends = Listen(settings.serve, &slot, edge->get());
  if (!front_ends.ok()) {
    Report(front_ends.status());
    return kExitFailed;
  }
  if (HasFilesToReload(settings.serve)) {
    signals.OnHangup([&settings, &edge, &front_ends] { Reload(settings.serve, **edge, *front_ends->http); });
  }
  const absl::Cleanup no_reload = [&signals] { signals.OnHangup(nullptr); };

  const StartupCallback progress = ShowProgress([&slot](const StartupProgress& now) { slot.SetProgress(now); });
  absl::StatusOr<std::unique_ptr<Engine>> created = Engine::Create(settings.engine, progress);
  if (!created.ok()) return Report(created.status());
  engine = *std::move(created);
  LogWarnings(*engine);
  signals.ExpectDrain();
  slot.Serve(engine.get());
  front_ends->grpc->ReportHealth();
  std::cout << Banner(settings.serve, front_ends->ports(), *engine) << std::endl;
  if (!settings.serve.ready_file.empty()) {
    const std::string json = ReadyJson(settings.serve, front_ends->ports());
    if (absl::Status status = WriteReadyFile(settings.serve.ready_file, json); !status.ok()) return Report(status);
  }

  const absl::Status failure = WaitForStop(signals, *engine, &slot);
  if (failure.ok()) slot.BeginDrain();
  front_ends->grpc->ReportHealth();
  const absl::Status drained = engine->Drain(settings.serve.drain_timeout);
  front_ends->http->Shutdown(kFlushLimit).IgnoreError();  // what it had to cancel is already reported by the engine
  front_ends->grpc->Shutdown(kFlushLimit);
  exit_guard = std::make_unique<ExitGuard>(kEndLimit, failure.ok() && drained.ok() ? kExitOk : kExitFailed);
  if (!failure.ok()) return kExitFailed;
  if (!drained.ok()) {
    spdlog::warn("drained, but not all requests finished: {}", std::string(drained.message()));
    return kExitFailed;
  }
  spdlog::info("drained; all requests finished");
  return kExitOk;
}

}  // namespace switchyard
