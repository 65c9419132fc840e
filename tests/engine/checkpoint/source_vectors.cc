#include "tests/engine/checkpoint/source_vectors.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/quantized_location.h"
#include "engine/checkpoint/shard_tensors.h"
#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

class MemoryFile : public RandomAccessFile {
 public:
  MemoryFile(std::string path, std::shared_ptr<const std::string> bytes)
      : path_(std::move(path)), bytes_(std::move(bytes)) {}

  const std::string& path() const override { return path_; }
  int64_t size() const override { return static_cast<int64_t>(bytes_->size()); }
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const override {
    if (offset + static_cast<int64_t>(out.size()) > size()) return absl::DataLossError(path_ + " ends");
    std::memcpy(out.data(), bytes_->data() + offset, out.size());
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  const std::shared_ptr<const std::string> bytes_;
};

// in [rows, file_groups] for the `groups` of a row, of which a whole number makes one of the file's.
template <typename T>
std::vector<T> Repeat(const std::vector<T>& in, int64_t rows, int64_t groups) {
  const size_t file_groups = in.size() / static_cast<size_t>(rows);
  const size_t times = (static_cast<size_t>(groups) + file_groups - 1) / file_groups;
  std::vector<T> out;
  for (const T value : in) out.insert(out.end(), times, value);
  return out;
}

}  // namespace

QuantizationConfig ParseConfig(const nlohmann::json& config) {
  std::vector<std::string> warnings;
  absl::StatusOr<QuantizationConfig> parsed = ParseQuantizationConfig("dir/config.json", config, warnings);
  CHECK(parsed.ok());
  return *std::move(parsed);
}

SourceVectors::SourceVectors(const std::string& name)
    : bytes_(std::make_shared<std::string>(
          ReadBytes(absl::StrCat(SWITCHYARD_SOURCE_DIR, "/tests/engine/checkpoint/data/", name)))) {
  uint64_t json_bytes = 0;
  std::memcpy(&json_bytes, bytes_->data(), sizeof(json_bytes));
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(
      "dir/0", absl::string_view(*bytes_).substr(8, json_bytes), static_cast<int64_t>(bytes_->size()));
  CHECK(header.ok());
  shards_ = {{.path = "dir/0", .header = *std::move(header)}, {.path = "dir/1"}};
  for (const ShardHeader& shard : shards_) files_.push_back(std::make_unique<MemoryFile>(shard.path, bytes_));
}

absl::StatusOr<TensorLocation> SourceVectors::Locate(const std::string& name, const std::vector<int64_t>& shape,
                                                     const QuantizationConfig& config) const {
  absl::StatusOr<ShardTensors> tensors = ShardTensors::Make(shards_);
  if (!tensors.ok()) return tensors.status();
  return LocateQuantized(*tensors, name + ".weight", shape, &config);
}

absl::StatusOr<QuantizedTensor> SourceVectors::Read(const std::string& name, const std::vector<int64_t>& shape,
                                                    const QuantizationConfig& config) const {
  const absl::StatusOr<TensorLocation> location = Locate(name, shape, config);
  if (!location.ok()) return location.status();
  return ReadQuantizedTensor(files_, *location);
}

SafetensorsEntry& SourceVectors::Entry(const std::string& name) {
  for (ShardHeader& shard : shards_) {
    for (SafetensorsEntry& entry : shard.header.tensors) {
      if (entry.name == name) return entry;
    }
  }
  CHECK(false && "no such tensor");
  return shards_[0].header.tensors[0];
}

void SourceVectors::Remove(const std::string& name) {
  const SafetensorsEntry* const entry = &Entry(name);
  auto& tensors = shards_[0].header.tensors;
  tensors.erase(tensors.begin() + (entry - tensors.data()));
}

void SourceVectors::MoveToSecondShard(const std::string& name) {
  const SafetensorsEntry entry = Entry(name);
  Remove(name);
  shards_[1].header.tensors.push_back(entry);
}

void SourceVectors::Add(const std::string& name, const char* dtype, std::vector<int64_t> shape,
                        const std::string& bytes) {
  const auto begin = static_cast<int64_t>(bytes_->size());
  bytes_->append(bytes);
  shards_[0].header.tensors.push_back({.name = name,
                                       .dtype = dtype,
                                       .shape = std::move(shape),
                                       .begin = begin,
                                       .end = static_cast<int64_t>(bytes_->size())});
}

void ExpectSameAsLibrary(SourceVectors& vectors, const std::string& name, const QuantizedTensor& tensor) {
  const std::string expected = name + ".expected.";
  const std::vector<uint8_t> codes = vectors.Get<uint8_t>(expected + "codes");
  ASSERT_EQ(codes.size(), static_cast<size_t>(tensor.rows * tensor.columns));
  std::vector<uint8_t> unpacked = tensor.codes;
  if (tensor.quantization.bits() == 4) {
    unpacked.clear();
    for (const uint8_t pair : tensor.codes) unpacked.insert(unpacked.end(), {uint8_t(pair & 15), uint8_t(pair >> 4)});
  }
  EXPECT_EQ(unpacked, codes);

  const int64_t groups = tensor.quantization.NumGroups(tensor.columns);
  EXPECT_EQ(tensor.scales.rows, tensor.rows);
  EXPECT_EQ(tensor.scales.groups, groups);
  EXPECT_EQ(tensor.scales.values, Repeat(vectors.Get<float>(expected + "scales"), tensor.rows, groups));
  if (tensor.quantization.has_zeros) {
    EXPECT_EQ(tensor.scales.zeros, Repeat(vectors.Get<uint8_t>(expected + "zeros"), tensor.rows, groups));
  } else {
    EXPECT_TRUE(tensor.scales.zeros.empty());
  }
  if (tensor.quantization.reordered) {
    EXPECT_EQ(tensor.order, vectors.Get<int32_t>(expected + "order"));
  } else {
    EXPECT_TRUE(tensor.order.empty());
  }

  const std::vector<float> dequantized = vectors.Get<float>(expected + "dequantized");
  const auto columns = static_cast<size_t>(tensor.columns);
  for (int64_t row = 0; row < tensor.rows; row += 4) {
    std::vector<float> values(columns);
    DequantizeRows(tensor, row, row + 1, values);
    const auto first = dequantized.begin() + row / 4 * tensor.columns;
    EXPECT_TRUE(std::equal(values.begin(), values.end(), first)) << "row " << row;
  }
}

}  // namespace switchyard
