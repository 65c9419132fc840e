// A quantised weight in the form that other tools write it, as the tensors of a file.
#pragma once

#include <cstddef>
#include <cstring>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/weight_map.h"
#include "engine/checkpoint/writer/safetensors_writer.h"
#include "engine/model/quantization_choices.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Bytes of tensors, one after the other.
class ByteSink {
 public:
  template <typename T>
  void Append(std::span<const T> values) {
    const size_t begin = bytes_.size();
    bytes_.resize(begin + values.size_bytes());
    std::memcpy(bytes_.data() + begin, values.data(), values.size_bytes());
  }
  std::vector<std::byte> Take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Modules of a model, "model.layers.0.self_attn.q_proj", by what becomes of their weights.
struct ModuleNames {
  std::vector<std::string> quantized;
  std::vector<std::string> dense;  // linear ones: no norms, no embeddings
};

// A way to write quantised weights.
class WeightEncoder {
 public:
  virtual ~WeightEncoder() = default;

  // The tensors that `weight`, which is dense, becomes. INVALID_ARGUMENT if the form cannot hold its shape.
  virtual absl::StatusOr<std::vector<TensorLayout>> LayoutsOf(const TensorLocation& weight) const = 0;
  // Their bytes, in that order.
  virtual std::vector<std::byte> Encode(const TensorLocation& weight, const QuantizedTensor& quantized) const = 0;
  // config.json's quantization_config.
  virtual nlohmann::ordered_json Config(const ModuleNames& modules, DType dtype) const = 0;
};

}  // namespace switchyard
