// The gRPC front end: listening, limits, health. The one entry that the serve command calls; no gRPC type in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/edge.h"
#include "server/engine_slot.h"
#include "server/rpc/limits.h"

namespace switchyard {

struct GrpcServerConfig {
  std::string host = "127.0.0.1";  // an address, or a name that resolves to one
  uint16_t port = 50051;           // 0: any free one; see GrpcServer::port
  std::string unix_path;           // not empty: a unix socket, for this user alone, instead of host and port
  // PEM files; not empty: TLS, and with `client_ca` mutual TLS. Over a unix socket there is none.
  std::string tls_cert;
  std::string tls_key;
  std::string client_ca;
  bool reflection = false;  // grpc.reflection.v1alpha: lists the services to anyone, keys or not
  GrpcLimits limits;
};

// Thread safety: every member may be called from any thread.
class GrpcServer {
 public:
  // Stops at once, cancelling open calls.
  virtual ~GrpcServer() = default;

  // Serves when it returns, whatever state `slot` is in; health follows it within a fraction of a second. `slot` and
  // `edge` are borrowed and, like the engine, outlive the server. UNAVAILABLE names the address when it cannot listen;
  // INVALID_ARGUMENT a file of --tls-cert, --tls-key or --grpc-tls-client-ca that cannot be used; of unix sockets see
  // ClaimUnixSocket. Certificates that change on disk are used for new connections within seconds.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerConfig& config, const EngineSlot* slot,
                                                           Edge* edge);

  virtual uint16_t port() const = 0;  // 0 for a unix socket

  // Makes health follow `slot` now instead of within a fraction of a second.
  virtual void ReportHealth() = 0;

  // Takes no new calls, lets open ones finish, and cancels them after `limit`.
  virtual void Shutdown(absl::Duration limit) = 0;
};

}  // namespace switchyard
