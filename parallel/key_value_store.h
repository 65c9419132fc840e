// A small store that processes use to find each other.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace switchyard {

// Safe for concurrent use.
class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;

  // Keys are written once: ALREADY_EXISTS for a second Set.
  virtual absl::Status Set(const std::string& key, const std::string& value) = 0;
  // nullopt: not set yet.
  virtual absl::StatusOr<std::optional<std::string>> TryGet(const std::string& key) = 0;

  // Waits for the key to be set; DEADLINE_EXCEEDED names it.
  absl::StatusOr<std::string> Get(const std::string& key, absl::Time deadline);
};

}  // namespace switchyard
