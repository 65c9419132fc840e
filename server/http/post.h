// A small HTTP client: one request, one answer.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace switchyard::http {

struct PostTarget {
  std::string host;
  uint16_t port = 80;
  std::string path = "/";
};

// Blocks, for `limit` at most once the host's name is resolved. OK for an answer of 2xx, whose body is not looked at;
// UNAVAILABLE otherwise, with what went wrong.
absl::Status Post(const PostTarget& target, const std::string& content_type, const std::string& body,
                  absl::Duration limit);

}  // namespace switchyard::http
