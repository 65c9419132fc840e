#include "server/rpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <sys/stat.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/access/unix_socket.h"
#include "server/rpc/credentials.h"
#include "server/rpc/generation_service.h"

namespace switchyard {
namespace {

constexpr absl::Duration kHealthPeriod = absl::Milliseconds(100);

int Milliseconds(absl::Duration duration) { return static_cast<int>(absl::ToInt64Milliseconds(duration)); }

std::string Address(const GrpcServerConfig& config) {
  if (!config.unix_path.empty()) return absl::StrCat("unix:", config.unix_path);
  const bool is_ipv6 = absl::StrContains(config.host, ':');
  return absl::StrCat(is_ipv6 ? "[" : "", config.host, is_ipv6 ? "]" : "", ":", config.port);
}

// The library that answers reflection adds itself to every server of a program that links it.
class ReflectionOption final : public grpc::ServerBuilderOption {
 public:
  explicit ReflectionOption(bool wanted) : wanted_(wanted) {}

  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    auto reflection = std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>();
    std::erase_if(*plugins, [&](const auto& plugin) { return plugin->name() == reflection->name(); });
    if (wanted_) plugins->push_back(std::move(reflection));
  }

 private:
  const bool wanted_;
};

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(const GrpcServerConfig& config, const EngineSlot* slot, Edge* edge)
      : slot_(*slot),
        service_(slot, edge,
                 {.max_pending_bytes = config.limits.max_pending_bytes,
                  .max_batch_requests = config.limits.max_batch_requests}) {}

  ~GrpcServerImpl() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen(const GrpcServerConfig& config) {
    // A switch of the library for the whole process; it takes effect on servers built afterwards.
    grpc::EnableDefaultHealthCheckService(true);

    absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = grpc::InsecureServerCredentials();
    if (!config.unix_path.empty()) {
      if (absl::Status status = ClaimUnixSocket(config.unix_path); !status.ok()) return status;
    } else if (!config.tls_cert.empty()) {
      credentials = MakeTlsCredentials({.cert = config.tls_cert, .key = config.tls_key, .client_ca = config.client_ca});
      if (!credentials.ok()) return credentials.status();
    }

    const GrpcLimits& limits = config.limits;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(Address(config), *credentials, &port);
    builder.RegisterService(&service_);
    builder.SetOption(std::make_unique<ReflectionOption>(config.reflection));
    builder.SetMaxReceiveMessageSize(static_cast<int>(limits.max_message_bytes));
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(limits.max_metadata_bytes));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(limits.max_streams));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(limits.keepalive_time));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(limits.keepalive_timeout));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                               Milliseconds(limits.min_ping_interval));
    // Without this a second server on the same port would take half of the connections instead of failing.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // gRPC makes the socket's file itself, and clients could connect before a chmod.
    const mode_t mask = config.unix_path.empty() ? 0 : umask(S_IXUSR | S_IRWXG | S_IRWXO);
    server_ = builder.BuildAndStart();
    if (!config.unix_path.empty()) umask(mask);
    if (server_ == nullptr || port == 0) {
      server_.reset();
      return absl::UnavailableError(absl::StrCat("--grpc ", Address(config),
                                                 ": cannot listen there; the port may be taken or the address not one "
                                                 "of this host: choose another, or port 0 for any free one"));
    }
    port_ = config.unix_path.empty() ? static_cast<uint16_t>(port) : 0;
    ReportHealth();
    health_thread_ = std::thread([this] {
      while (!stopping_.WaitForNotificationWithTimeout(kHealthPeriod)) ReportHealth();
    });
    return absl::OkStatus();
  }

  uint16_t port() const override { return port_; }

  void ReportHealth() override {
    const EngineSlot::Snapshot now = slot_.snapshot();
    const bool serving = now.state == EngineSlot::State::kServing && now.engine->Health().ok();
    grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
    health->SetServingStatus("", serving);
    health->SetServingStatus(v1::Generation::service_full_name(), serving);
  }

  void Shutdown(absl::Duration limit) override {
    absl::MutexLock lock(&shutdown_mu_);
    if (server_ == nullptr || stopping_.HasBeenNotified()) return;
    stopping_.Notify();
    health_thread_.join();
    server_->GetHealthCheckService()->SetServingStatus(false);
    server_->Shutdown(absl::ToChronoTime(absl::Now() + limit));
    server_->Wait();
  }

 private:
  // constant after construction
  const EngineSlot& slot_;
  GenerationService service_;

  // constant after Listen
  std::unique_ptr<grpc::Server> server_;
  uint16_t port_ = 0;
  std::thread health_thread_;

  absl::Mutex shutdown_mu_;
  absl::Notification stopping_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerConfig& config, const EngineSlot* slot,
                                                              Edge* edge) {
  auto server = std::make_unique<GrpcServerImpl>(config, slot, edge);
  if (absl::Status status = server->Listen(config); !status.ok()) return status;
  return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace switchyard
