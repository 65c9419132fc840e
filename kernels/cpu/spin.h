// Waiting for another thread: briefly awake, then asleep.
#pragma once

#include <atomic>

#include "hwy/cache_control.h"

namespace switchyard {

// Of a pause each, some 20 to 80 microseconds: more than what a step computes on one thread between two loops, and
// about what falling asleep and being woken costs on a virtual machine.
inline constexpr int kSpins = 2000;

// Returns when `value` is no longer `old`. meanwhile() is called again and again before sleep; while it returns true,
// having found something to do, the wait starts anew. Whoever changes `value` notifies.
template <typename T, typename Meanwhile>
void WaitWhile(const std::atomic<T>& value, T old, Meanwhile meanwhile) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    if (meanwhile()) i = 0;
    hwy::Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

template <typename T>
void WaitWhile(const std::atomic<T>& value, T old) {
  WaitWhile(value, old, [] { return false; });
}

}  // namespace switchyard
