// The vector loops of quantize.h: one row in groups of `group_size` (64 or 128; the last may be short).
#pragma once

#include <cstdint>
#include <span>

namespace switchyard {

// magnitudes [groups]: the largest |x| of each; not finite if one of them is not.
void FindGroupMagnitudes(std::span<const float> row, int64_t group_size, float* magnitudes);
// lows, highs [groups]: smallest and largest element and 0. Of finite rows.
void FindGroupRanges(std::span<const float> row, int64_t group_size, float* lows, float* highs);

// codes [CodeBytes]: the nearest of kNf4Values to x / magnitude, the lower one of two as near. A group of zeros: 0.0.
void RoundToNf4(std::span<const float> row, int64_t group_size, const float* magnitudes, uint8_t* codes);

// codes [CodeBytes]: x / scale + zero, to the nearest integer (even of two as near) in [0, 2^bits). Groups whose scale
// is 0 get their zero. bits: 4 or 8.
struct LinearLevels {
  int64_t bits = 0;
  const float* scales = nullptr;   // [groups]
  const uint8_t* zeros = nullptr;  // [groups], or null:
  int default_zero = 0;
};
void RoundToLevels(std::span<const float> row, int64_t group_size, const LinearLevels& levels, uint8_t* codes);

}  // namespace switchyard
