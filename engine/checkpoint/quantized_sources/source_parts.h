// The parts of one quantised weight in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/checkpoint/weight_map.h"

namespace switchyard {

class SourceParts {
 public:
  // Reads every part of `tensor`, which is borrowed, once. Errors name the file and the tensor.
  static absl::StatusOr<SourceParts> Read(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                          const TensorLocation& tensor);

  const TensorLocation& tensor() const { return *tensor_; }
  bool Has(absl::string_view suffix) const { return Find(suffix) != nullptr; }
  // The elements of a part, which must be there and be of type T (checked when it was located).
  template <typename T>
  std::span<const T> Get(absl::string_view suffix) const {
    const Part& part = Require(suffix);
    return {reinterpret_cast<const T*>(part.words.get()), part.bytes / sizeof(T)};
  }
  // The elements of a part of F16, BF16 or F32; a Fault if one is not finite.
  absl::StatusOr<std::vector<float>> GetFinite(absl::string_view suffix) const;
  // INVALID_ARGUMENT: "dir/model.safetensors: tensor 'x.scales' " and `what`.
  absl::Status Fault(absl::string_view suffix, absl::string_view what) const;

 private:
  struct Part {
    std::string suffix;
    std::string dtype;
    std::string path;                   // of its file
    std::unique_ptr<uint64_t[]> words;  // its bytes, aligned for any element
    size_t bytes = 0;
  };

  explicit SourceParts(const TensorLocation& tensor) : tensor_(&tensor) {}
  const Part* Find(absl::string_view suffix) const;
  const Part& Require(absl::string_view suffix) const;

  const TensorLocation* tensor_;
  std::vector<Part> parts_;
};

}  // namespace switchyard
