// An HTTP/1.1 server: sockets, limits, keep-alive, disconnects. Knows nothing of what is served.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/http/answer.h"
#include "server/http/message.h"

namespace switchyard::http {

struct ServerConfig {
  std::string host = "127.0.0.1";  // an address, or a name that resolves to one
  uint16_t port = 8000;            // 0: any free port; see Server::port
  int num_threads = 2;
  int64_t max_connections = 4096;  // more are answered 503 and closed

  size_t max_header_bytes = 16 * 1024;                // 431
  size_t max_body_bytes = 16 * 1024 * 1024;           // 413
  absl::Duration idle_timeout = absl::Seconds(120);   // between requests of a connection
  absl::Duration header_timeout = absl::Seconds(15);  // first byte of a request to the end of its header
  absl::Duration body_timeout = absl::Seconds(60);    // end of the header to the end of the body
  absl::Duration write_timeout = absl::Seconds(60);   // a write that makes no progress: the connection is dropped
  int socket_send_buffer = 0;                         // SO_SNDBUF in bytes; 0: the kernel's choice
};

// Thread safety: every member may be called from any thread that is not one of the server's own.
class Server {
 public:
  // Stops at once, cancelling open requests.
  virtual ~Server() = default;

  // Listens and serves when it returns. INVALID_ARGUMENT: no such address; ALREADY_EXISTS: the port is taken;
  // PERMISSION_DENIED; each names host and port.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config, Handler handler, ErrorBody error);

  virtual uint16_t port() const = 0;
  virtual int64_t num_connections() const = 0;

  // Stops accepting, closes idle connections, lets open requests finish. OK once no connection is left;
  // DEADLINE_EXCEEDED when some had to be cancelled at `limit`. Further calls return what the first did.
  virtual absl::Status Shutdown(absl::Duration limit) = 0;
};

}  // namespace switchyard::http
