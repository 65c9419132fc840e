#include "tests/emulation/half_convert.h"

namespace switchyard::emulation {
namespace {

// As FloatFromFloat16Bits, which a sanitized build does not inline here; without branches, so that it vectorises.
SWITCHYARD_EMULATION_HOT void UnpackFloat16(const uint32_t* pairs, int num_pairs, int shift, float* out) {
  for (int i = 0; i < num_pairs; ++i) {
    const uint32_t bits = pairs[i] >> shift;
    const float magnitude = __builtin_bit_cast(float, (bits & 0x7FFFu) << 13) * 0x1p112f;
    const uint32_t special = (bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
    out[i] = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, magnitude) | special | (bits & 0x8000u) << 16);
  }
}

SWITCHYARD_EMULATION_HOT void UnpackBFloat16(const uint32_t* pairs, int num_pairs, float* lo, float* hi) {
  for (int i = 0; i < num_pairs; ++i) {
    lo[i] = __builtin_bit_cast(float, pairs[i] << 16);
    hi[i] = __builtin_bit_cast(float, pairs[i] & 0xFFFF0000u);
  }
}

}  // namespace

void UnpackHalves(bool bfloat16, const uint32_t* pairs, int num_pairs, float* lo, float* hi) {
  if (bfloat16) {
    UnpackBFloat16(pairs, num_pairs, lo, hi);
  } else {
    UnpackFloat16(pairs, num_pairs, 0, lo);
    UnpackFloat16(pairs, num_pairs, 16, hi);
  }
}

}  // namespace switchyard::emulation
