#include "engine/checkpoint/quantized_sources/group_arrays.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

// out [rows, groups] from in [file_groups, rows]: group g of the tensor lies in group g * group_size / file_group_size.
template <typename T>
std::vector<T> Spread(std::span<const T> in, const TensorLocation& tensor, int64_t groups) {
  constexpr int64_t kBlock = 64;
  const int64_t rows = tensor.rows();
  std::vector<T> out(static_cast<size_t>(rows * groups));
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, rows);
    for (int64_t group = 0; group < groups; ++group) {
      const T* const source = in.data() + group * tensor.quantization.group_size / tensor.file_group_size * rows;
      for (int64_t row = begin; row < end; ++row) out[static_cast<size_t>(row * groups + group)] = source[row];
    }
  }
  return out;
}

absl::Status CheckMiddle(const SourceParts& parts, std::span<const uint8_t> zeros) {
  const TensorLocation& tensor = parts.tensor();
  const int middle = tensor.quantization.default_zero();
  const auto off = std::find_if(zeros.begin(), zeros.end(), [middle](uint8_t zero) { return zero != middle; });
  if (off == zeros.end()) return absl::OkStatus();
  const int64_t index = off - zeros.begin();
  const bool is_awq = tensor.storage == WeightStorage::kAwq;
  return parts.Fault("qzeros",
                     absl::StrCat("has the zero point ", static_cast<int>(*off), " in group ", index / tensor.rows(),
                                  " of output ", index % tensor.rows(), ", but the config says that all are ", middle,
                                  ": set ", is_awq ? "zero_point to true" : "sym to false", " there"));
}

// Exporters write one for every linear layer; the model has none.
absl::Status CheckNoBias(const SourceParts& parts) {
  if (!parts.Has("bias")) return absl::OkStatus();
  const absl::StatusOr<std::vector<float>> bias = parts.GetFinite("bias");
  if (!bias.ok()) return bias.status();
  const auto set = std::find_if(bias->begin(), bias->end(), [](float value) { return value != 0; });
  if (set == bias->end()) return absl::OkStatus();
  return parts.Fault(
      "bias", absl::StrCat("has ", *set, " at ", set - bias->begin(), "; the model has no biases, so all must be 0"));
}

}  // namespace

int64_t NumFileGroups(const TensorLocation& tensor) {
  return (tensor.columns() + tensor.file_group_size - 1) / tensor.file_group_size;
}

absl::StatusOr<QuantizedTensor> MakeGrouped(const SourceParts& parts, std::span<const uint8_t> zeros) {
  const TensorLocation& location = parts.tensor();
  const Quantization& quantization = location.quantization;
  absl::StatusOr<std::vector<float>> scales = parts.GetFinite("scales");
  if (!scales.ok()) return scales.status();
  absl::Status status = CheckNoBias(parts);
  if (status.ok() && !quantization.has_zeros) status = CheckMiddle(parts, zeros);
  if (!status.ok()) return status;
  const int64_t groups = quantization.NumGroups(location.columns());
  QuantizedTensor tensor{.quantization = quantization, .rows = location.rows(), .columns = location.columns()};
  tensor.codes.resize(static_cast<size_t>(tensor.rows * quantization.CodeBytes(tensor.columns)));
  tensor.scales.rows = tensor.rows;
  tensor.scales.groups = groups;
  tensor.scales.values = Spread(std::span<const float>(*scales), location, groups);
  if (quantization.has_zeros) tensor.scales.zeros = Spread(zeros, location, groups);
  return tensor;
}

}  // namespace switchyard
