// What this host has left for CPU ranks.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace switchyard {

// What could be allocated now without swapping, as the kernel estimates it (MemAvailable, proc(5)). UNAVAILABLE where
// it does not say.
absl::StatusOr<int64_t> AvailableHostBytes();

}  // namespace switchyard
