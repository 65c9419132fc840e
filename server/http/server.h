// An HTTP/1.1 server: sockets, limits, keep-alive, disconnects. Knows nothing of what is served.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/http/answer.h"
#include "server/http/limits.h"
#include "server/http/message.h"

namespace switchyard::http {

struct ServerConfig {
  std::string host = "127.0.0.1";  // an address, or a name that resolves to one
  uint16_t port = 8000;            // 0: any free port; see Server::port
  int num_threads = 2;
  std::string unix_path;  // not empty: a unix socket, for this user alone, instead of host and port
  // PEM files; not empty: TLS. Over a unix socket there is none.
  std::string tls_cert;
  std::string tls_key;
  std::vector<std::string> cors_origins;  // see CorsPolicy
  Limits limits;
  int socket_send_buffer = 0;  // SO_SNDBUF in bytes; 0: the kernel's choice
};

// Thread safety: every member may be called from any thread that is not one of the server's own.
class Server {
 public:
  // Stops at once, cancelling open requests.
  virtual ~Server() = default;

  // Listens and serves when it returns. Requests that come to no handler (malformed, over a limit) are reported to
  // `on_refused`, if there is one, from the io threads. INVALID_ARGUMENT: no such address, an unusable certificate;
  // ALREADY_EXISTS: the address is taken; PERMISSION_DENIED; NOT_FOUND: no such directory. Each names the address.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config, Handler handler, ErrorBody error,
                                                       ReportSink on_refused = nullptr);

  virtual uint16_t port() const = 0;  // 0 for a unix socket
  virtual int64_t num_connections() const = 0;

  // Reads the certificate's files again, for new connections; after an error the old one stays. OK without TLS.
  virtual absl::Status ReloadTls() = 0;

  // Stops accepting, closes idle connections, lets open requests finish. OK once no connection is left;
  // DEADLINE_EXCEEDED when some had to be cancelled at `limit`. Further calls return what the first did.
  virtual absl::Status Shutdown(absl::Duration limit) = 0;
};

}  // namespace switchyard::http
