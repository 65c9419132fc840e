// Values as people write them on a command line: sizes, durations, addresses.
//
// Errors are INVALID_ARGUMENT and say what was read and what would be right; the caller names the flag.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace switchyard {

// "4GiB", "512MB", "1.5g", "4096": k, M, G and T are powers of 1000, Ki, Mi, Gi and Ti of 1024; the B and the case are
// free. Rounded down to whole bytes.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);
// The largest binary unit that leaves a whole number: 4294967296 is "4GiB".
std::string FormatBytes(int64_t bytes);

// "30s", "1m30s", "250ms"; a bare number is seconds. Not negative, not infinite.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

struct Endpoint {
  std::string host;  // without brackets
  uint16_t port = 0;
  std::string unix_path = {};  // not empty: a unix socket instead of the two above
  bool operator==(const Endpoint&) const = default;
};

// "127.0.0.1:8000", "localhost:0", "[::1]:8000"; ":8000" is every IPv4 address. Port 0: any free one.
// "unix:/run/a.sock" is a unix socket: an absolute path of at most 107 bytes.
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text);
std::string Format(const Endpoint& endpoint);  // as ParseEndpoint reads it
// Only this host can connect: 127.0.0.0/8, ::1, localhost and unix sockets.
bool IsLoopback(const Endpoint& endpoint);

struct HttpUrl {
  Endpoint endpoint;
  std::string path;  // starts with '/'
  bool operator==(const HttpUrl&) const = default;
};

// "http://127.0.0.1:4318", "http://collector/prefix": the port is 80 unless given. No https, user, query or fragment.
absl::StatusOr<HttpUrl> ParseHttpUrl(absl::string_view text);
std::string Format(const HttpUrl& url);

// "1,5,9": whole numbers within [min, max], spaces allowed; empty text is an empty list.
absl::StatusOr<std::vector<int32_t>> ParseIntList(absl::string_view text, int32_t min, int32_t max);

}  // namespace switchyard
