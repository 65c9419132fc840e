#include "tests/engine/checkpoint/checkpoint_files.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernels/check.h"

namespace switchyard {
namespace {

struct FileParts {
  nlohmann::ordered_json header;
  std::string data;
};

FileParts SplitFile(const std::string& path) {
  const std::string bytes = ReadBytes(path);
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof(size));
  return {.header = nlohmann::ordered_json::parse(bytes.substr(8, size)), .data = bytes.substr(8 + size)};
}

// 2^exponent * (1 + mantissa / 2^bits), by the definition rather than by moving bits.
float HalfValue(uint16_t half, int mantissa_bits, int bias) {
  const int exponent = (half & 0x7FFF) >> mantissa_bits;
  const int mantissa = half & ((1 << mantissa_bits) - 1);
  const double fraction = static_cast<double>(mantissa) / (1 << mantissa_bits) + (exponent == 0 ? 0 : 1);
  const double magnitude = std::ldexp(fraction, (exponent == 0 ? 1 : exponent) - bias);
  return static_cast<float>((half & 0x8000) != 0 ? -magnitude : magnitude);
}

float ElementAt(const std::string& data, size_t begin, size_t index, const std::string& dtype) {
  if (dtype == "F32") {
    float value = 0;
    std::memcpy(&value, data.data() + begin + index * 4, 4);
    return value;
  }
  uint16_t half = 0;
  std::memcpy(&half, data.data() + begin + index * 2, 2);
  return dtype == "BF16" ? HalfValue(half, 7, 127) : HalfValue(half, 10, 15);
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "switchyard-checkpoint-XXXXXX";
  CHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in.is_open());
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  CHECK(out.good());
}

std::string SafetensorsBytes(const std::string& header, const std::string& data, int64_t claimed_size) {
  const uint64_t size = claimed_size < 0 ? header.size() : static_cast<uint64_t>(claimed_size);
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + data;
}

void EditJson(const std::string& path, const JsonEdit& edit) {
  auto json = nlohmann::ordered_json::parse(ReadBytes(path));
  edit(json);
  WriteBytes(path, json.dump());
}

void EditHeader(const std::string& path, const JsonEdit& edit) {
  FileParts parts = SplitFile(path);
  edit(parts.header);
  WriteBytes(path, SafetensorsBytes(parts.header.dump(), parts.data));
}

void AppendTensor(const std::string& path, const std::string& name, const std::string& dtype,
                  const std::vector<int64_t>& shape, int64_t bytes) {
  FileParts parts = SplitFile(path);
  const size_t end = parts.data.size() + static_cast<size_t>(bytes);
  parts.header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {parts.data.size(), end}}};
  parts.data.resize(end, '\0');
  WriteBytes(path, SafetensorsBytes(parts.header.dump(), parts.data));
}

std::vector<float> ReferenceTensor::Part(int64_t row_begin, int64_t row_end, int64_t column_begin,
                                         int64_t column_end) const {
  const int64_t columns = shape.size() > 1 ? shape[1] : 1;
  std::vector<float> part;
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t column = column_begin; column < column_end; ++column) {
      part.push_back(values.at(static_cast<size_t>(row * columns + column)));
    }
  }
  return part;
}

ReferenceFiles::ReferenceFiles(const std::string& directory) {
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() != ".safetensors") continue;
    FileParts parts = SplitFile(file.path());
    files_.push_back({.header = std::move(parts.header), .data = std::move(parts.data)});
  }
}

ReferenceTensor ReferenceFiles::Read(const std::string& name) const {
  for (const File& file : files_) {
    if (!file.header.contains(name)) continue;
    const auto& entry = file.header[name];
    ReferenceTensor tensor{.shape = entry["shape"].get<std::vector<int64_t>>(), .values = {}};
    size_t count = 1;
    for (const int64_t extent : tensor.shape) count *= static_cast<size_t>(extent);
    const auto dtype = entry["dtype"].get<std::string>();
    const auto begin = entry["data_offsets"][0].get<size_t>();
    for (size_t i = 0; i < count; ++i) tensor.values.push_back(ElementAt(file.data, begin, i, dtype));
    return tensor;
  }
  CHECK(false && "no file has the tensor");
  return {};
}

}  // namespace switchyard
