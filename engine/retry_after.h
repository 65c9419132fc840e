// When a client that was refused should try again: rides on the Status as a payload, so that front ends can say it in
// their own way (HTTP's Retry-After, gRPC's trailing metadata).
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"

namespace switchyard {

// `status` is not OK.
absl::Status WithRetryAfter(absl::Status status, int64_t seconds);
// nullopt: the status does not say.
std::optional<int64_t> RetryAfterSeconds(const absl::Status& status);

}  // namespace switchyard
