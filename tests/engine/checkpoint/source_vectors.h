// The weights of data/*.safetensors, packed by other tools (tests/reference/make_source_vectors.py), to be read as they
// are or after something in them was changed.
#pragma once

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/checkpoint/quantization_config.h"
#include "engine/checkpoint/quantized_sources.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/weight_map.h"

namespace switchyard {

// The config must be one that is read.
QuantizationConfig ParseConfig(const nlohmann::json& config);

class SourceVectors {
 public:
  // A file of data/, which messages call "dir/0" or, of tensors that were moved there, "dir/1".
  explicit SourceVectors(const std::string& name);

  // As LocateQuantized and ReadQuantizedTensor do it, for the weight `name` + ".weight".
  absl::StatusOr<TensorLocation> Locate(const std::string& name, const std::vector<int64_t>& shape,
                                        const QuantizationConfig& config) const;
  absl::StatusOr<QuantizedTensor> Read(const std::string& name, const std::vector<int64_t>& shape,
                                       const QuantizationConfig& config) const;

  SafetensorsEntry& Entry(const std::string& name);
  void Remove(const std::string& name);
  void MoveToSecondShard(const std::string& name);
  void Add(const std::string& name, const char* dtype, std::vector<int64_t> shape, const std::string& bytes);
  // What the index of the directory does not name.
  void Unlist(const std::string& name) { shards_[0].unlisted.insert(name); }
  // The file ends `bytes` earlier than when it was opened.
  void Truncate(size_t bytes) { bytes_->resize(bytes_->size() - bytes); }

  template <typename T>
  std::vector<T> Get(const std::string& name) {
    const SafetensorsEntry& entry = Entry(name);
    std::vector<T> values(static_cast<size_t>(entry.end - entry.begin) / sizeof(T));
    std::memcpy(values.data(), bytes_->data() + entry.begin, values.size() * sizeof(T));
    return values;
  }
  template <typename T>
  void Set(const std::string& name, size_t index, T value) {
    std::memcpy(bytes_->data() + Entry(name).begin + index * sizeof(T), &value, sizeof(T));
  }

 private:
  std::shared_ptr<std::string> bytes_;
  std::vector<ShardHeader> shards_;  // of the same bytes
  std::vector<std::unique_ptr<RandomAccessFile>> files_;
};

// Whether `tensor` is what the library says of the case `name`, bit for bit.
void ExpectSameAsLibrary(SourceVectors& vectors, const std::string& name, const QuantizedTensor& tensor);

}  // namespace switchyard
