// The gRPC front end: listening, limits, health. The one entry that the serve command calls; no gRPC type in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine_slot.h"

namespace switchyard {

struct GrpcServerConfig {
  std::string host = "127.0.0.1";  // an address, or a name that resolves to one
  uint16_t port = 50051;           // 0: any free port; see GrpcServer::port
  std::vector<std::string> api_keys;
  bool reflection = false;  // grpc.reflection.v1alpha: lists the services to anyone

  // Messages. A request of 1M token ids has some 3 MiB.
  int max_receive_bytes = 16 << 20;
  int max_metadata_bytes = 16 << 10;
  // Streams of one connection at the same time; more wait at the client.
  int max_concurrent_streams = 1024;
  // Of a stream: see StreamLimits in generation_streams.h.
  size_t max_pending_bytes = size_t{1} << 20;
  size_t max_batch_requests = 1024;
  // A ping after so long without traffic; a connection that does not answer in time is closed and its requests aborted.
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Clients may ping as often as this, also without a call; those that ping more often are sent away.
  absl::Duration min_ping_interval = absl::Seconds(5);
};

// Thread safety: every member may be called from any thread.
class GrpcServer {
 public:
  // Stops at once, cancelling open calls.
  virtual ~GrpcServer() = default;

  // Serves when it returns, whatever state `slot` is in; health follows it within a fraction of a second. `slot` is
  // borrowed and, like the engine in it, outlives the server. UNAVAILABLE names host and port when it cannot listen.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerConfig& config, const EngineSlot* slot);

  virtual uint16_t port() const = 0;

  // Makes health follow `slot` now instead of within a fraction of a second.
  virtual void ReportHealth() = 0;

  // Takes no new calls, lets open ones finish, and cancels them after `limit`.
  virtual void Shutdown(absl::Duration limit) = 0;
};

}  // namespace switchyard
