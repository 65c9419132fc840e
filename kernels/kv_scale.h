// How a key or value of one head becomes 8-bit elements with one scale (KvPages). Usable in device code.
//
//   scale = max |x| / M,  element = round(x / scale) to the nearest of the type, ties to even;  M = 448 or 127
//
// A row whose largest magnitude is below M * 2^-126 becomes 0. A row that holds NaN or an infinity becomes NaN as a
// whole, by its scale; other rows know nothing of it.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/float8.h"

namespace switchyard {

template <typename Element>
inline constexpr float kLargestKvElement = 0;
template <>
inline constexpr float kLargestKvElement<Float8E4M3> = kFloat8E4M3Max;
template <>
inline constexpr float kLargestKvElement<int8_t> = 127.0f;

struct KvScale {
  float scale = 0;
  float inverse = 0;  // 0: all elements are 0
};

// magnitude_bits: the largest of the row's float32 patterns without their signs; as integers they are ordered like the
// numbers, with infinity and NaN above all others.
constexpr KvScale KvScaleOf(uint32_t magnitude_bits, float largest_element) {
  if (magnitude_bits >= 0x7F800000u) return {.scale = std::numeric_limits<float>::quiet_NaN(), .inverse = 0};
  const float scale = std::bit_cast<float>(magnitude_bits) / largest_element;
  if (scale < std::numeric_limits<float>::min()) return {};
  return {.scale = scale, .inverse = 1.0f / scale};
}

}  // namespace switchyard
