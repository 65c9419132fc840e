#include "tests/kernels/quantized_weights.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace switchyard {

std::vector<QuantizedCase> AllQuantizedCases() {
  std::vector<QuantizedCase> cases = {
      {"nf4", {.format = WeightFormat::kNf4, .group_size = 64}},
      {"nf4 nested", {.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}}};
  for (const WeightFormat format : {WeightFormat::kInt4, WeightFormat::kInt8}) {
    for (const int64_t group : {64, 128}) {
      for (const bool has_zeros : {false, true}) {
        const Quantization quantization = {.format = format, .group_size = group, .has_zeros = has_zeros};
        cases.push_back({Describe(quantization), quantization});
      }
    }
  }
  const size_t plain = cases.size();
  for (size_t i = 0; i < plain; ++i) {
    QuantizedCase reordered = cases[i];
    reordered.name += " act-order";
    reordered.quantization.reordered = true;
    cases.push_back(reordered);
  }
  return cases;
}

int QuantizedWeights::Code(int64_t row, int64_t stored_column) const {
  const Quantization& quantization = spec.quantization;
  const uint8_t* data = codes.data() + row * quantization.CodeBytes(spec.in_features);
  if (quantization.bits() == 8) return data[stored_column];
  return (data[stored_column / 2] >> (stored_column % 2 * 4)) & 15;
}

int QuantizedWeights::Zero(int64_t row, int64_t group) const {
  if (zeros.empty()) return spec.quantization.default_zero();
  return zeros[row * spec.quantization.NumGroups(spec.in_features) + group];
}

void QuantizedWeights::Fill(Matrix& matrix, int64_t begin, int64_t end) const {
  const int64_t row_bytes = spec.quantization.CodeBytes(spec.in_features);
  const int64_t groups = spec.quantization.NumGroups(spec.in_features);
  const int64_t rows = end - begin;
  const ConstTensorView all(codes.data(), DType::kUInt8, {spec.out_features, row_bytes});
  EXPECT_TRUE(matrix.FillCodes(begin, all.Rows(begin, end)).ok());
  GroupScales block = {.num_rows = rows, .values = std::span(scales).subspan(begin * groups, rows * groups)};
  if (!zeros.empty()) block.zeros = std::span(zeros).subspan(begin * groups, rows * groups);
  // The CPU reads the values alone.
  const std::vector<uint8_t> nested_codes(rows * groups);
  const std::vector<float> nested_scales(rows * NumNestedScales(groups)), offsets(rows);
  const std::vector<int32_t> change(rows, 1);
  if (spec.quantization.double_quantized) block.nested = {nested_codes, nested_scales, change, offsets};
  EXPECT_TRUE(matrix.FillScales(begin, block).ok());
  if (begin != 0 || order.empty()) return;
  EXPECT_TRUE(matrix.FillColumnOrder(order).ok());
}

std::unique_ptr<Matrix> QuantizedWeights::Make(Backend& backend) const {
  std::unique_ptr<Matrix> matrix = *backend.CreateMatrix(spec);
  const int64_t cut = spec.out_features / 3;
  Fill(*matrix, cut, spec.out_features);
  Fill(*matrix, 0, cut);
  return matrix;
}

QuantizedWeights RandomQuantized(int64_t out, int64_t in, const Quantization& quantization, std::mt19937& random) {
  QuantizedWeights weights;
  weights.spec = {out, in, DType::kBFloat16, quantization};
  const int64_t groups = quantization.NumGroups(in);
  weights.codes.resize(out * quantization.CodeBytes(in));
  for (uint8_t& code : weights.codes) code = static_cast<uint8_t>(random());
  const float unit = quantization.format == WeightFormat::kNf4 ? 0.6f : quantization.bits() == 4 ? 0.06f : 0.004f;
  std::uniform_real_distribution<float> scale(0.2f * unit, 1.8f * unit);
  for (int64_t i = 0; i < out * groups; ++i) {
    const float value = scale(random);
    const bool is_half = quantization.format != WeightFormat::kNf4;
    weights.scales.push_back(is_half ? FloatFromFloat16(Float16FromFloat(value)) : value);
    if (quantization.has_zeros) weights.zeros.push_back(static_cast<uint8_t>(random() % (1 << quantization.bits())));
  }
  if (quantization.reordered) {
    weights.order.resize(in);
    std::iota(weights.order.begin(), weights.order.end(), 0);
    std::shuffle(weights.order.begin(), weights.order.end(), random);
  }
  weights.values.resize(out * in);
  for (int64_t row = 0; row < out; ++row) {
    for (int64_t c = 0; c < in; ++c) {
      const int64_t group = c / quantization.group_size;
      const int code = weights.Code(row, c);
      const double value = quantization.format == WeightFormat::kNf4 ? static_cast<double>(kNf4Values[code])
                                                                     : code - weights.Zero(row, group);
      const int64_t column = weights.order.empty() ? c : weights.order[c];
      weights.values[row * in + column] = value * weights.scales[row * groups + group];
    }
  }
  return weights;
}

}  // namespace switchyard
