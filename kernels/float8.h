// The 8-bit float e4m3: sign, 4 bits of exponent with bias 7, 3 of mantissa. Subnormals in steps of 2^-9, largest 448,
// no infinity; 0x7F and 0xFF are NaN. Source: Micikevicius et al. 2022, arXiv:2209.05433, and the OCP specification
// "8-bit Floating Point" 1.0, where it is called E4M3. Usable in device code.
#pragma once

#include <bit>
#include <cstdint>

namespace switchyard {

struct Float8E4M3 {
  uint8_t bits = 0;
};

inline constexpr float kFloat8E4M3Max = 448.0f;

// Exact.
constexpr float FloatFromFloat8E4M3(Float8E4M3 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x80u) << 24;
  const uint32_t exponent = (value.bits >> 3) & 0xFu;
  const uint32_t mantissa = value.bits & 0x7u;
  if ((value.bits & 0x7Fu) == 0x7Fu) return std::bit_cast<float>(sign | 0x7FC00000u);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + (127 - 7)) << 23 | mantissa << 20);
}

// Rounds to nearest, ties to even; beyond 448 to 448, infinities too; NaN stays NaN.
constexpr Float8E4M3 Float8E4M3FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {static_cast<uint8_t>(sign | 0x7Fu)};
  if (magnitude >= std::bit_cast<uint32_t>(kFloat8E4M3Max)) return {static_cast<uint8_t>(sign | 0x7Eu)};
  if (magnitude < std::bit_cast<uint32_t>(0x1p-6f)) {
    // Subnormal: so are the steps of floats in [2^14, 2^15), and the adder rounds to them.
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return {static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0x1p14f)))};
  }
  const uint32_t rounded = magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u);
  return {static_cast<uint8_t>(sign | ((rounded >> 20) - ((127 - 7) << 3)))};
}

}  // namespace switchyard
