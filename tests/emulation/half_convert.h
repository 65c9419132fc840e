// What the cvt instructions of a GPU do to 16-bit floats, by plain arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// For functions that only move a warp's registers about and compute on them: worth their speed in every build, and of
// no interest to sanitizers.
#ifdef __clang__
#define SWITCHYARD_EMULATION_HOT __attribute__((no_sanitize("address", "undefined")))
#else
#define SWITCHYARD_EMULATION_HOT __attribute__((no_sanitize("address", "undefined"), optimize("O3")))
#endif

namespace switchyard::emulation {

inline float FloatFromBFloat16Bits(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Rounds to nearest, ties to even; NaN becomes 0x7FFF, as on the device.
inline uint16_t BFloat16BitsFromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// Exact.
inline float FloatFromFloat16Bits(uint16_t bits) {
  // Exponent and mantissa in float32's places are too small by 2^(127 - 15), subnormals included.
  const float magnitude = std::bit_cast<float>(static_cast<uint32_t>(bits & 0x7FFFu) << 13) * 0x1p112f;
  const uint32_t special = (bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special | sign);
}

// lo[i], hi[i] = the numbers in the low and high half of pairs[i].
void UnpackHalves(bool bfloat16, const uint32_t* pairs, int num_pairs, float* lo, float* hi);

// Rounds to nearest, ties to even; too large becomes infinity; NaN becomes 0x7FFF, as on the device.
inline uint16_t Float16BitsFromFloat(float value) {
  const uint16_t sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000u : 0u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return 0x7FFF;
  if (magnitude >= 65520.0f) return sign | 0x7C00u;  // 65504, the largest, and half a step
  if (magnitude < 0x1p-14f) {
    // Subnormal, in steps of 2^-24: so are floats in [0.5, 1), and the adder rounds to them.
    const float shifted = magnitude + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f));
  }
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0xFFFu + ((bits >> 13) & 1u);
  return sign | static_cast<uint16_t>((rounded - ((127u - 15u) << 23)) >> 13);
}

}  // namespace switchyard::emulation
