// Writes a safetensors file from beginning to end, and the checksums of the pieces in which loaders read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/manifest.h"
#include "engine/checkpoint/writer/output_file.h"

namespace switchyard {

// A tensor as the file will name it.
struct TensorLayout {
  std::string name;
  std::string dtype;  // in safetensors' spelling
  std::vector<int64_t> shape;
  int64_t bytes = 0;
};

class SafetensorsWriter {
 public:
  // Creates the file, which must not exist, and writes its header: tensors lie in the order given. Errors as
  // OutputFile.
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path, std::vector<TensorLayout> tensors);

  // The next bytes of the data section, in pieces of any size.
  absl::Status Append(std::span<const std::byte> bytes);
  // After the last byte of the last tensor. Of a tensor the chunks of the result are as many whole rows (of its first
  // dimension) as kLoadBlockBytes holds, one at least; or kLoadBlockBytes where it has one dimension. The header is
  // one.
  absl::StatusOr<ManifestFile> Finish(bool sync);

 private:
  SafetensorsWriter(OutputFile file, std::vector<TensorLayout> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  // Opens the chunk that the next byte belongs to, passing over tensors that are complete or empty.
  void OpenChunk();

  OutputFile file_;
  const std::vector<TensorLayout> tensors_;
  size_t tensor_idx_ = 0;      // that is being written
  int64_t tensor_bytes_ = 0;   // of it, before the chunk
  int64_t chunk_bytes_ = 0;    // of the open chunk, in all
  int64_t chunk_written_ = 0;  // of the open chunk, so far
  Sha256 chunk_sha256_;
  std::vector<ManifestChunk> chunks_;
};

}  // namespace switchyard
