// How products ask for the weights that they read next.
//
// Into the second-level cache only: the first is the rows', and what is asked for early enough to hide the latency of
// memory would drive them out of it. The hardware by itself stops where pages end, and takes the pace of several rows
// for the end of a stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hwy/base.h"

namespace switchyard {

// Between what is asked for and what is read, in bytes: what two threads need to keep memory busy.
inline constexpr size_t kWeightsAhead = 8192;

// Not merely `inline`: GCC 12 then inlines it too late to keep the sums of the loops around it in registers.
HWY_INLINE void FetchWeights(const void* line) {
  constexpr int kSecondLevel = 2;  // __builtin_prefetch's measure of locality
  __builtin_prefetch(line, 0, kSecondLevel);
}

// What a stream needs at its start, when nobody has asked for its first lines.
HWY_INLINE void FetchFirstWeights(const void* begin) {
  constexpr size_t kLineBytes = 64;
  const auto* bytes = static_cast<const uint8_t*>(begin);
  for (size_t b = 0; b < kWeightsAhead; b += kLineBytes) FetchWeights(bytes + b);
}

}  // namespace switchyard
