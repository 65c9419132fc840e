#include "kernels/cpu/random_weights.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/philox.h"

namespace switchyard {
namespace {

// Numbers 2 * pair and 2 * pair + 1. Source: Box and Muller 1958, "A note on the generation of random normal deviates".
struct NormalPair {
  float first;
  float second;
};

NormalPair NormalDraw(uint64_t seed, uint64_t pair) {
  const PhiloxCounter bits = Philox4x32({static_cast<uint32_t>(pair), static_cast<uint32_t>(pair >> 32), 0, 0},
                                        {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const float uniform = (static_cast<float>(bits[0] >> 8) + 0.5f) * 0x1p-24f;  // in (0, 1)
  const float angle = static_cast<float>(bits[1] >> 8) * 0x1p-24f * 2 * std::numbers::pi_v<float>;
  const float radius = std::sqrt(-2 * std::log(uniform));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

void Store(DType dtype, float value, void* data, int64_t i) {
  if (dtype == DType::kFloat32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<uint16_t*>(data)[i] = dtype == DType::kBFloat16 ? BFloat16FromFloat(value) : Float16FromFloat(value);
  }
}

}  // namespace

absl::Status FillRandomRows(Matrix& matrix, uint64_t seed, float deviation) {
  const auto [out_features, in_features, dtype] = matrix.spec();
  constexpr int64_t kBlockRows = 2;                    // an even number of elements, so that pairs do not cross blocks
  std::vector<float> block(kBlockRows * in_features);  // wide enough for either type
  for (int64_t row = 0; row < out_features; row += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, out_features - row);
    for (int64_t i = 0; i < rows * in_features; i += 2) {
      const NormalPair normal = NormalDraw(seed, static_cast<uint64_t>((row * in_features + i) / 2));
      Store(dtype, deviation * normal.first, block.data(), i);
      if (i + 1 < rows * in_features) Store(dtype, deviation * normal.second, block.data(), i + 1);
    }
    absl::Status status = matrix.Fill(row, ConstTensorView(block.data(), dtype, {rows, in_features}));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace switchyard
