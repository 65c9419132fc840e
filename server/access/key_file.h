// Files of API keys: one key per line, optionally with a name and limits of its own.
//
//   # comment, on a line of its own
//   sk-4f9a0c                                     a key without a name: it is called key-2, after its line
//   team-a:sk-91b2e7                              NAME:KEY
//   team-b:sk-77aa01 max-concurrent=4 tokens-per-minute=60000
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/access/api_key.h"

namespace switchyard {

inline constexpr size_t kMaxKeys = 10'000;

// `text` is a file's content, `origin` names it in errors. A key is 1 to 512 printable ASCII characters without spaces;
// a name 1 to 64 letters, digits, '-', '_' and '.', so a key without a name that holds a ':' needs one before it.
// Several lines may share a name, in order to change a key: they share its limits, which the first of them states.
// INVALID_ARGUMENT names file and line, never the key; a file without keys is one, too.
absl::StatusOr<std::vector<ApiKey>> ParseKeys(absl::string_view text, const std::string& origin,
                                              const KeyLimits& default_limits);

// --api-key-file PATH. INVALID_ARGUMENT as well for a file that cannot be read.
absl::StatusOr<std::vector<ApiKey>> ReadKeyFile(const std::string& path, const KeyLimits& default_limits);

}  // namespace switchyard
