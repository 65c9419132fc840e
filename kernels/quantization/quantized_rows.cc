#include "kernels/quantization/quantized_rows.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/check.h"

namespace switchyard {
namespace {

// Seven decades, the i-th divided evenly into 2^i parts of which the middles count, with both signs; then 0 and 1.
// Rounded where the source rounds, in torch's float32.
std::array<float, 256> MakeDynamicMap() {
  constexpr int kDecades = 7;
  std::array<float, 256> map = {};
  size_t size = 0;
  for (int i = 0; i < kDecades; ++i) {
    const int parts = 1 << i;
    const auto decade = static_cast<float>(std::pow(10.0, i - (kDecades - 1)));
    const float step = (1.0f - 0.1f) / static_cast<float>(parts);
    // torch.linspace(0.1, 1, parts + 1), which counts from the nearer end, in fused multiply-adds: exact in double.
    const auto bound = [&](int k) {
      return static_cast<float>(k < (parts + 1) / 2 ? double{0.1f} + double{step} * k
                                                    : 1.0 - double{step} * (parts - k));
    };
    for (int part = 0; part < parts; ++part) {
      const float value = decade * ((bound(part) + bound(part + 1)) / 2.0f);
      map[size++] = value;
      map[size++] = -value;
    }
  }
  map[size++] = 0.0f;
  map[size++] = 1.0f;
  CHECK_EQ(size, map.size());
  std::sort(map.begin(), map.end());
  return map;
}

}  // namespace

std::span<const float, 256> DynamicMap() {
  static const std::array<float, 256> kMap = MakeDynamicMap();
  return kMap;
}

void DequantizeRow(const Quantization& quantization, int64_t columns, const uint8_t* codes, const float* scales,
                   const uint8_t* zeros, float* out) {
  CHECK(!quantization.is_dense());
  const bool is_byte = quantization.bits() == 8;
  for (int64_t c = 0; c < columns; ++c) {
    const int code = is_byte ? codes[c] : (codes[c / 2] >> (c % 2 * 4)) & 15;
    const int64_t group = c / quantization.group_size;
    if (quantization.format == WeightFormat::kNf4) {
      out[c] = scales[group] * kNf4Values[static_cast<size_t>(code)];
    } else {
      const int zero = quantization.has_zeros ? zeros[group] : quantization.default_zero();
      out[c] = scales[group] * static_cast<float>(code - zero);
    }
  }
}

}  // namespace switchyard
