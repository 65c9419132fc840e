// An API key as the server keeps it: its digest, never the key itself.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace switchyard {

using KeyDigest = std::array<unsigned char, 32>;
KeyDigest DigestOf(absl::string_view key);  // SHA-256

// What the requests of one key may use, all together.
struct KeyLimits {
  int64_t max_concurrent = 0;     // requests in flight; 0: no limit
  int64_t tokens_per_minute = 0;  // of prompts and answers; 0: no limit
  bool operator==(const KeyLimits&) const = default;
};

struct ApiKey {
  std::string name;  // for logs and metrics
  KeyDigest digest = {};
  KeyLimits limits;
};

}  // namespace switchyard
