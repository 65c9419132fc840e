// What a client of the HTTP server may cost. Values only; each is a flag of `switchyard serve`.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace switchyard::http {

struct Limits {
  int64_t max_connections = 4096;                     // more are answered 503 and closed
  int64_t max_header_bytes = 16 * 1024;               // 431
  int64_t max_headers = 100;                          // header lines of one request: 431
  int64_t max_body_bytes = 16 * 1024 * 1024;          // 413
  int64_t max_body_memory = 256 * 1024 * 1024;        // bodies of all requests that are being received: 503
  absl::Duration idle_timeout = absl::Seconds(120);   // between requests of a connection
  absl::Duration header_timeout = absl::Seconds(15);  // first byte of a request to the end of its header; TLS handshake
  absl::Duration body_timeout = absl::Seconds(60);    // end of the header to the end of the body
  absl::Duration write_timeout = absl::Seconds(60);   // a write that makes no progress: the connection is dropped
};

}  // namespace switchyard::http
