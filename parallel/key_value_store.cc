#include "parallel/key_value_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace switchyard {

absl::StatusOr<std::string> KeyValueStore::Get(const std::string& key, absl::Time deadline) {
  absl::Duration pause = absl::Milliseconds(1);
  for (;;) {
    const absl::StatusOr<std::optional<std::string>> value = TryGet(key);
    if (!value.ok()) return value.status();
    if (value->has_value()) return **value;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat("rendezvous: nobody set \"", key, "\" in time"));
    }
    absl::SleepFor(std::min(pause, left));
    pause = std::min(2 * pause, absl::Milliseconds(20));
  }
}

}  // namespace switchyard
