// Model directories that a test writes, reads independently of the loader, and breaks on purpose.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/synthetic_checkpoint.h"

namespace switchyard {

using JsonEdit = std::function<void(nlohmann::ordered_json&)>;

// A directory of its own, removed with all it holds.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadBytes(const std::string& path);
void WriteBytes(const std::string& path, const std::string& bytes);
// A safetensors file from its parts; `claimed_size` of -1: the header's true size.
std::string SafetensorsBytes(const std::string& header, const std::string& data, int64_t claimed_size = -1);

// Parses the file, changes it and writes it back; of a safetensors file the header, with its data left as it is.
void EditJson(const std::string& path, const JsonEdit& edit);
void EditHeader(const std::string& path, const JsonEdit& edit);
// Adds a tensor of zeros to a safetensors file.
void AppendTensor(const std::string& path, const std::string& name, const std::string& dtype,
                  const std::vector<int64_t>& shape, int64_t bytes);

// A tensor read without the code under test: found in the directory's files by name, widened to float32.
struct ReferenceTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;

  // Rows [row_begin, row_end) and of each the columns [column_begin, column_end).
  std::vector<float> Part(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end) const;
};

class ReferenceFiles {
 public:
  explicit ReferenceFiles(const std::string& directory);

  // The tensor must be there.
  ReferenceTensor Read(const std::string& name) const;

 private:
  struct File {
    nlohmann::ordered_json header;
    std::string data;
  };
  std::vector<File> files_;
};

}  // namespace switchyard
