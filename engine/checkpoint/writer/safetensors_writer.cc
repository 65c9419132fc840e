#include "engine/checkpoint/writer/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// Data begins at a multiple of this.
constexpr size_t kAlignment = 8;

std::string HeaderOf(std::span<const TensorLayout> tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const TensorLayout& tensor : tensors) {
    const int64_t end = offset + tensor.bytes;
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string json = header.dump();
  json.resize((json.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return json;
}

// As the loader's blocks are (RowsOfBlock in load_blocks.h).
int64_t ChunkBytes(const TensorLayout& tensor) {
  if (tensor.shape.size() < 2 || tensor.bytes == 0) return kLoadBlockBytes;
  const int64_t row_bytes = tensor.bytes / tensor.shape[0];
  return std::max<int64_t>(1, kLoadBlockBytes / row_bytes) * row_bytes;
}

}  // namespace

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path,
                                                            std::vector<TensorLayout> tensors) {
  const std::string header = HeaderOf(tensors);
  std::string prefix(static_cast<size_t>(kSafetensorsPrefixBytes), '\0');
  for (size_t i = 0; i < prefix.size(); ++i) prefix[i] = static_cast<char>(uint64_t{header.size()} >> (8 * i));
  absl::StatusOr<OutputFile> file = OutputFile::Create(path);
  if (!file.ok()) return file.status();
  SafetensorsWriter writer(*std::move(file), std::move(tensors));
  const std::span<const std::byte> bytes = std::as_bytes(std::span(header));
  absl::Status status = writer.file_.Write(std::as_bytes(std::span(prefix)));
  if (status.ok()) status = writer.file_.Write(bytes);
  if (!status.ok()) return status;
  writer.chunks_.push_back({.tensor = "",
                            .begin = kSafetensorsPrefixBytes,
                            .bytes = static_cast<int64_t>(bytes.size()),
                            .sha256 = Sha256Of(bytes)});
  return writer;
}

void SafetensorsWriter::OpenChunk() {
  if (chunk_bytes_ > 0) return;
  while (tensor_idx_ < tensors_.size() && tensor_bytes_ == tensors_[tensor_idx_].bytes) {
    ++tensor_idx_;
    tensor_bytes_ = 0;
  }
  if (tensor_idx_ == tensors_.size()) return;
  const TensorLayout& tensor = tensors_[tensor_idx_];
  chunk_bytes_ = std::min(ChunkBytes(tensor), tensor.bytes - tensor_bytes_);
  chunk_sha256_ = Sha256();
}

absl::Status SafetensorsWriter::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    OpenChunk();
    CHECK_GT(chunk_bytes_, 0);
    const std::span<const std::byte> piece =
        bytes.first(std::min(bytes.size(), static_cast<size_t>(chunk_bytes_ - chunk_written_)));
    bytes = bytes.subspan(piece.size());
    chunk_sha256_.Add(piece);
    absl::Status status = file_.Write(piece);
    if (!status.ok()) return status;
    chunk_written_ += static_cast<int64_t>(piece.size());
    if (chunk_written_ < chunk_bytes_) continue;
    chunks_.push_back({.tensor = tensors_[tensor_idx_].name,
                       .begin = file_.bytes() - chunk_bytes_,
                       .bytes = chunk_bytes_,
                       .sha256 = chunk_sha256_.Finish()});
    tensor_bytes_ += chunk_bytes_;
    chunk_bytes_ = chunk_written_ = 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<ManifestFile> SafetensorsWriter::Finish(bool sync) {
  OpenChunk();
  CHECK_EQ(tensor_idx_, tensors_.size());
  absl::StatusOr<ManifestFile> file = file_.Finish(sync);
  if (file.ok()) file->chunks = std::move(chunks_);
  return file;
}

}  // namespace switchyard
