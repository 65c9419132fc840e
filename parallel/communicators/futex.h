// Sleeping on a 32-bit word until another thread of this process changes it: std::atomic::wait with a deadline.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace switchyard {

// Sleeps while `word` is `expected`, until a FutexWakeAll or `deadline` (absl::InfiniteFuture(): none). May also return
// for no reason; the caller looks again.
void FutexWait(const std::atomic<uint32_t>& word, uint32_t expected, absl::Time deadline);
void FutexWakeAll(const std::atomic<uint32_t>& word);

}  // namespace switchyard
