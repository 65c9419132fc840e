#include "kernels/cpu/random_weights.h"

#include <cmath>
#include <numbers>
#include <numeric>
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

// Deviation of codes 1 to 15, and 1 to 255, about their middle.
constexpr float kInt4Deviation = 4.32f;
constexpr float kInt8Deviation = 73.6f;
// Root mean square of NF4's 16 values.
constexpr float kNf4Deviation = 0.51721f;

absl::Status FillRandomCodes(Matrix& matrix, uint64_t seed) {
  const MatrixSpec& spec = matrix.spec();
  const int64_t row_bytes = spec.quantization.CodeBytes(spec.in_features);
  const bool is_byte = spec.quantization.bits() == 8;
  const bool is_nf4 = spec.quantization.format == WeightFormat::kNf4;
  // The lowest code of integers has no opposite. NF4's have none at all: FillScales sees to their mean.
  const uint32_t first = is_nf4 ? 0 : 1;
  const uint32_t num_codes = (is_byte ? 256u : 16u) - first;
  std::vector<uint8_t> codes(static_cast<size_t>(row_bytes));
  for (int64_t row = 0; row < spec.out_features; ++row) {
    PhiloxCounter bits = {};
    for (int64_t i = 0; i < row_bytes; ++i) {
      const auto quad = static_cast<uint64_t>((row * row_bytes + i) / 4);
      if (i % 4 == 0) {
        bits =
            Philox4x32({static_cast<uint32_t>(quad), static_cast<uint32_t>(quad >> 32), static_cast<uint32_t>(row), 1},
                       {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
      }
      const uint32_t word = bits[static_cast<size_t>(i % 4)];
      const uint32_t low = first + (word >> 8) % num_codes;
      const uint32_t high = first + (word >> 20) % num_codes;
      codes[static_cast<size_t>(i)] = static_cast<uint8_t>(is_byte ? low : low | high << 4);
    }
    absl::Status status = matrix.FillCodes(row, ConstTensorView(codes.data(), DType::kUInt8, {1, row_bytes}));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// All of one magnitude. NF4's take turns in their sign, since the mean of its values is not 0.
absl::Status FillScales(Matrix& matrix, float deviation) {
  const MatrixSpec& spec = matrix.spec();
  const Quantization& quantization = spec.quantization;
  const int64_t groups = quantization.NumGroups(spec.in_features);
  const bool is_nf4 = quantization.format == WeightFormat::kNf4;
  const float unit = is_nf4                                       ? kNf4Deviation
                     : quantization.format == WeightFormat::kInt4 ? kInt4Deviation
                                                                  : kInt8Deviation;
  // Exact in whatever type a backend keeps scales in.
  const float scale = FloatFromFloat16(Float16FromFloat(deviation / unit));
  // The map's first value and its last but one are opposites; the last, 1, has none.
  constexpr uint8_t kNested[] = {254, 0};
  const float nested_scale = scale / DynamicMap()[kNested[0]];
  std::vector<float> values(static_cast<size_t>(groups), scale);
  std::vector<uint8_t> nested_codes(static_cast<size_t>(groups));
  const std::vector<uint8_t> zeros(static_cast<size_t>(groups), static_cast<uint8_t>(quantization.default_zero()));
  const std::vector<float> nested(static_cast<size_t>(NumNestedScales(groups)), nested_scale);
  const auto change = static_cast<int32_t>(kNestedBlock);
  const float offset = 0.0f;
  GroupScales row = {.num_rows = 1, .values = values};
  if (quantization.has_zeros) row.zeros = zeros;
  if (quantization.double_quantized) {
    row.nested = {.codes = nested_codes, .scales = nested, .change = {&change, 1}, .offsets = {&offset, 1}};
  }
  for (int64_t i = 0; i < spec.out_features; ++i) {
    for (size_t g = 0; is_nf4 && g < values.size(); ++g) {
      nested_codes[g] = kNested[(static_cast<size_t>(i) + g) % 2];
      values[g] = DynamicMap()[nested_codes[g]] * nested_scale;
    }
    absl::Status status = matrix.FillScales(i, row);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FillQuantized(Matrix& matrix, uint64_t seed, float deviation) {
  absl::Status status = FillRandomCodes(matrix, seed);
  if (status.ok()) status = FillScales(matrix, deviation);
  if (!status.ok() || !matrix.spec().quantization.reordered) return status;
  std::vector<int32_t> order(static_cast<size_t>(matrix.spec().in_features));
  std::iota(order.begin(), order.end(), 0);
  return matrix.FillColumnOrder(order);
}

absl::Status FillDense(Matrix& matrix, uint64_t seed, float deviation) {
  const int64_t out_features = matrix.spec().out_features;
  const int64_t in_features = matrix.spec().in_features;
  const DType dtype = matrix.spec().dtype;
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

}  // namespace

absl::Status FillRandomRows(Matrix& matrix, uint64_t seed, float deviation) {
  return matrix.spec().quantization.is_dense() ? FillDense(matrix, seed, deviation)
                                               : FillQuantized(matrix, seed, deviation);
}

}  // namespace switchyard
