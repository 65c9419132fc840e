#include "tests/kernels/cuda/quantized_problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/quantization/quantized_rows.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

int CodeOf(const QuantizedTensor& tensor, int64_t row, int64_t column) {
  const uint8_t* codes = tensor.codes.data() + row * tensor.quantization.CodeBytes(tensor.columns);
  if (tensor.quantization.bits() == 8) return codes[column];
  return codes[column / 2] >> (column % 2 * 4) & 15;
}

float Float16Rounded(float value) { return FloatFromFloat16(Float16FromFloat(value)); }

}  // namespace

std::vector<NamedQuantization> AllQuantizations() {
  return {
      {"Nf4", {.format = WeightFormat::kNf4, .group_size = 64}},
      {"Nf4Double", {.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}},
      {"Int4G64", {.format = WeightFormat::kInt4, .group_size = 64}},
      {"Int4G128", {.format = WeightFormat::kInt4, .group_size = 128}},
      {"Int4G64Zeros", {.format = WeightFormat::kInt4, .group_size = 64, .has_zeros = true}},
      {"Int4G128Zeros", {.format = WeightFormat::kInt4, .group_size = 128, .has_zeros = true}},
      {"Int8G64", {.format = WeightFormat::kInt8, .group_size = 64}},
      {"Int8G128Zeros", {.format = WeightFormat::kInt8, .group_size = 128, .has_zeros = true}},
  };
}

std::vector<NamedQuantization> SomeQuantizations() {
  const std::vector<NamedQuantization> all = AllQuantizations();
  return {all[1], all[5], all[7]};
}

QuantizedTensor RandomQuantized(const Quantization& quantization, int64_t rows, int64_t columns, std::mt19937& random) {
  const int64_t groups = quantization.NumGroups(columns);
  const auto counts = static_cast<size_t>(rows * groups);
  QuantizedTensor tensor = {.quantization = quantization, .rows = rows, .columns = columns};
  std::uniform_int_distribution<int> byte(0, 255);
  tensor.codes.resize(static_cast<size_t>(rows * quantization.CodeBytes(columns)));
  std::generate(tensor.codes.begin(), tensor.codes.end(), [&] { return static_cast<uint8_t>(byte(random)); });

  const bool is_nf4 = quantization.format == WeightFormat::kNf4;
  const float code_range = is_nf4 ? 0.6f : quantization.format == WeightFormat::kInt8 ? 80.0f : 5.0f;
  std::uniform_real_distribution<float> spread(0.3f / code_range / std::sqrt(static_cast<float>(columns)),
                                               1.7f / code_range / std::sqrt(static_cast<float>(columns)));
  ScaleArrays& scales = tensor.scales;
  scales.rows = rows;
  scales.groups = groups;
  scales.values.resize(counts);
  for (float& value : scales.values) value = is_nf4 ? spread(random) : Float16Rounded(spread(random));
  if (quantization.has_zeros) {
    // GPTQ files hold zero points up to 16.
    std::uniform_int_distribution<int> zero(0, quantization.bits() == 8 ? 255 : 16);
    scales.zeros.resize(counts);
    std::generate(scales.zeros.begin(), scales.zeros.end(), [&] { return static_cast<uint8_t>(zero(random)); });
  }
  if (quantization.double_quantized) {
    const int64_t nested = NumNestedScales(groups);
    std::uniform_int_distribution<int32_t> change(1, 256);
    scales.nested_codes.resize(counts);
    for (uint8_t& code : scales.nested_codes) code = static_cast<uint8_t>(byte(random));
    for (int64_t i = 0; i < rows * nested; ++i) scales.nested_scales.push_back(spread(random));
    for (int64_t row = 0; row < rows; ++row) {
      // Small enough that both nested scales of a row that has two are used, and any where it has one.
      const auto least = nested == 1 ? static_cast<int32_t>(groups) : 1;
      scales.nested_change.push_back(std::max(least, nested == 1 ? change(random) : change(random) % 3 + 1));
      scales.nested_offsets.push_back(spread(random));
      for (int64_t group = 0; group < groups; ++group) {
        const auto i = static_cast<size_t>(row * groups + group);
        const int32_t first = scales.nested_change.back();
        const int64_t scale = row * nested + (group < first ? 0 : 1 + (group - first) / kNestedBlock);
        scales.values[i] = DynamicMap()[scales.nested_codes[i]] * scales.nested_scales[static_cast<size_t>(scale)] +
                           scales.nested_offsets.back();
      }
    }
  }
  if (quantization.reordered) {
    tensor.order.resize(static_cast<size_t>(columns));
    std::iota(tensor.order.begin(), tensor.order.end(), 0);
    std::shuffle(tensor.order.begin(), tensor.order.end(), random);
  }
  return tensor;
}

std::vector<double> ProductValues(const QuantizedTensor& tensor, DType dtype) {
  const Quantization& quantization = tensor.quantization;
  std::vector<double> values(static_cast<size_t>(tensor.rows * tensor.columns));
  for (int64_t row = 0; row < tensor.rows; ++row) {
    for (int64_t column = 0; column < tensor.columns; ++column) {
      const auto group = static_cast<size_t>(row * tensor.scales.groups + column / quantization.group_size);
      const int code = CodeOf(tensor, row, column);
      const int zero = quantization.has_zeros ? tensor.scales.zeros[group] : quantization.default_zero();
      const double unscaled = quantization.format == WeightFormat::kNf4
                                  ? FloatFromHalf(dtype, HalfFromFloat(dtype, kNf4Values[static_cast<size_t>(code)]))
                                  : code - zero;
      const int64_t feature = quantization.reordered ? tensor.order[static_cast<size_t>(column)] : column;
      values[static_cast<size_t>(row * tensor.columns + feature)] = unscaled * tensor.scales.values[group];
    }
  }
  return values;
}

DeviceVector<uint8_t> UploadQuantized(const std::vector<QuantizedTensor>& matrices) {
  const QuantizedTensor& first = matrices.front();
  const Quantization& quantization = first.quantization;
  const QuantizedLayout layout = MakeQuantizedLayout(quantization, first.rows, first.columns);
  std::vector<uint8_t> bytes(
      QuantizedBytes(quantization, first.rows, first.columns, static_cast<int64_t>(matrices.size())), 0xFF);
  for (size_t m = 0; m < matrices.size(); ++m) {
    const QuantizedTensor& matrix = matrices[m];
    const ScaleArrays& scales = matrix.scales;
    uint8_t* to = bytes.data() + m * layout.bytes;
    const auto put = [to](size_t part, int64_t index, auto value) {
      std::memcpy(to + part + static_cast<size_t>(index) * sizeof(value), &value, sizeof(value));
    };
    for (int64_t row = 0; row < matrix.rows; ++row) {
      PackCodes(quantization, matrix.columns, matrix.codes.data() + row * quantization.CodeBytes(matrix.columns),
                to + layout.codes + row * layout.row_bytes);
      for (int64_t group = 0; group < layout.groups; ++group) {
        const bool is_there = group < scales.groups;
        const auto from = static_cast<size_t>(row * scales.groups + group);
        const int64_t at = row * layout.groups + group;
        if (quantization.double_quantized) {
          put(layout.scales, at, is_there ? scales.nested_codes[from] : uint8_t{0});
        } else if (quantization.format == WeightFormat::kNf4) {
          put(layout.scales, at, is_there ? scales.values[from] : 0.0f);
        } else {
          put(layout.scales, at, is_there ? Float16FromFloat(scales.values[from]) : uint16_t{0});
        }
        if (quantization.has_zeros) put(layout.zeros, at, is_there ? scales.zeros[from] : uint8_t{0});
      }
      if (!quantization.double_quantized) continue;
      for (int64_t i = row * layout.nested_scales; i < (row + 1) * layout.nested_scales; ++i) {
        put(layout.nested_scale, i, scales.nested_scales[static_cast<size_t>(i)]);
      }
      put(layout.nested_offset, row, scales.nested_offsets[static_cast<size_t>(row)]);
      put(layout.nested_change, row, scales.nested_change[static_cast<size_t>(row)]);
    }
    for (size_t column = 0; column < matrix.order.size(); ++column) {
      put(layout.column_place, matrix.order[column], static_cast<int32_t>(column));
    }
  }
  if (quantization.double_quantized) {
    std::memcpy(bytes.data() + matrices.size() * layout.bytes, DynamicMap().data(), DynamicMap().size_bytes());
  }
  return DeviceVector<uint8_t>(bytes);
}

QuantizedMatrix ViewOf(const std::vector<QuantizedTensor>& matrices, const DeviceVector<uint8_t>& memory) {
  const QuantizedTensor& first = matrices.front();
  return ViewQuantized(first.quantization, first.rows, first.columns, static_cast<int64_t>(matrices.size()),
                       memory.data());
}

}  // namespace switchyard::cuda
