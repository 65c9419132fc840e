#include "engine/retry_after.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

constexpr char kPayload[] = "switchyard.dev/retry-after-seconds";

}  // namespace

absl::Status WithRetryAfter(absl::Status status, int64_t seconds) {
  CHECK(!status.ok());
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(seconds)));
  return status;
}

std::optional<int64_t> RetryAfterSeconds(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int64_t seconds = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &seconds)) return std::nullopt;
  return seconds;
}

}  // namespace switchyard
