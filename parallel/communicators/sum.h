// Sums of several ranks' floats, in rank order.
#pragma once

#include <cstdint>

namespace switchyard {

// acc[i] += x[i]; the two do not overlap.
inline void AddTo(float* __restrict acc, const float* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] += x[i];
}

}  // namespace switchyard
