#include "engine/checkpoint/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/json_document.h"
#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kMaxManifestBytes = int64_t{256} << 20;
constexpr size_t kDigits = 64;

std::string ReadChecksum(JsonFields& fields) {
  std::string sha256 = fields.String("sha256").value_or("");
  const bool valid = sha256.size() == kDigits && sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!valid) fields.Fail("sha256", "must be 64 hexadecimal digits in lower case");
  return sha256;
}

absl::Status ReadChunks(JsonFields& fields, ManifestFile& file) {
  const nlohmann::json* const chunks = fields.Find("chunks");
  if (chunks == nullptr) return absl::OkStatus();
  if (!chunks->is_array()) {
    fields.Fail("chunks", "must be a list");
    return fields.status();
  }
  int64_t end = 0;
  for (const nlohmann::json& chunk : *chunks) {
    if (!chunk.is_object()) {
      fields.Fail("chunks", "must be a list of objects");
      return fields.status();
    }
    JsonFields parts(absl::StrCat(fields.place(), ": chunks[", file.chunks.size(), "]"), chunk);
    ManifestChunk& read = file.chunks.emplace_back();
    read.tensor = parts.String("tensor").value_or("");
    read.begin = parts.RequiredInteger("begin", {.min = end, .max = file.bytes});
    read.bytes = parts.RequiredInteger("bytes", {.max = file.bytes - read.begin});
    read.sha256 = ReadChecksum(parts);
    if (!parts.status().ok()) return parts.status();
    end = read.begin + read.bytes;
  }
  return absl::OkStatus();
}

// Compares what is read with the checksums of the chunks that it covers.
class VerifiedFile : public RandomAccessFile {
 public:
  VerifiedFile(std::unique_ptr<RandomAccessFile> file, const ManifestFile& expected,
               std::shared_ptr<const Manifest> manifest)
      : file_(std::move(file)), expected_(expected), manifest_(std::move(manifest)) {}

  const std::string& path() const override { return file_->path(); }
  int64_t size() const override { return file_->size(); }
  void WillNeed(int64_t offset, int64_t bytes) const override { file_->WillNeed(offset, bytes); }
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const override {
    absl::Status status = file_->ReadAt(offset, out);
    if (!status.ok()) return status;
    const int64_t end = offset + static_cast<int64_t>(out.size());
    if (expected_.chunks.empty() && offset == 0 && end == expected_.bytes) return Verify({}, expected_.sha256, out);
    auto chunk = std::lower_bound(expected_.chunks.begin(), expected_.chunks.end(), offset,
                                  [](const ManifestChunk& a, int64_t begin) { return a.begin < begin; });
    for (; status.ok() && chunk != expected_.chunks.end() && chunk->begin + chunk->bytes <= end; ++chunk) {
      status = Verify(*chunk, chunk->sha256,
                      out.subspan(static_cast<size_t>(chunk->begin - offset), static_cast<size_t>(chunk->bytes)));
    }
    return status;
  }

 private:
  absl::Status Verify(const ManifestChunk& chunk, const std::string& sha256, std::span<const std::byte> bytes) const {
    const std::string found = Sha256Of(bytes);
    if (found == sha256) return absl::OkStatus();
    const std::string what = chunk.tensor.empty() ? "" : absl::StrCat("tensor ", QuoteName(chunk.tensor), ": ");
    return absl::DataLossError(absl::StrCat(path(), ": ", what, bytes.size(), " bytes at offset ", chunk.begin,
                                            " have SHA-256 ", found, ", not ", sha256, " as ", kManifestName,
                                            " says: the file is damaged, or was changed after it was written"));
  }

  const std::unique_ptr<RandomAccessFile> file_;
  const ManifestFile& expected_;  // of *manifest_
  const std::shared_ptr<const Manifest> manifest_;
};

}  // namespace

std::string FormatManifest(const Manifest& manifest) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const auto& [name, file] : manifest) {
    nlohmann::ordered_json entry = {{"bytes", file.bytes}, {"sha256", file.sha256}};
    for (const ManifestChunk& chunk : file.chunks) {
      nlohmann::ordered_json part = nlohmann::ordered_json::object();
      if (!chunk.tensor.empty()) part["tensor"] = chunk.tensor;
      part["begin"] = chunk.begin;
      part["bytes"] = chunk.bytes;
      part["sha256"] = chunk.sha256;
      entry["chunks"].push_back(std::move(part));
    }
    files[name] = std::move(entry);
  }
  const nlohmann::ordered_json document = {{"version", kVersion}, {"files", std::move(files)}};
  return document.dump(1) + "\n";
}

absl::StatusOr<Manifest> ParseManifest(const std::string& path, absl::string_view text) {
  const absl::StatusOr<nlohmann::json> document = ParseJsonObject(path, text);
  if (!document.ok()) return document.status();
  JsonFields top(path, *document);
  top.RequiredInteger("version", {.min = kVersion, .max = kVersion});
  const nlohmann::json* const files = top.Find("files");
  if (files == nullptr || !files->is_object()) top.Fail("files", "must be an object");
  if (!top.status().ok()) return top.status();
  Manifest manifest;
  for (const auto& [name, entry] : files->items()) {
    const std::string place = absl::StrCat(path, ": files: ", QuoteName(name));
    if (!entry.is_object()) return absl::InvalidArgumentError(absl::StrCat(place, " must be an object"));
    JsonFields fields(place, entry);
    ManifestFile& file = manifest[name];
    file.bytes = fields.RequiredInteger("bytes", {});
    file.sha256 = ReadChecksum(fields);
    if (!fields.status().ok()) return fields.status();
    if (absl::Status status = ReadChunks(fields, file); !status.ok()) return status;
  }
  return manifest;
}

absl::StatusOr<FileOpener> VerifyingOpener(const std::string& directory, const FileOpener& open) {
  const std::string manifest_path = absl::StrCat(directory, "/", kManifestName);
  const absl::StatusOr<std::string> text = ReadTextFile(open, manifest_path, kMaxManifestBytes);
  if (absl::IsNotFound(text.status())) return open;
  if (!text.ok()) return text.status();
  absl::StatusOr<Manifest> parsed = ParseManifest(manifest_path, *text);
  if (!parsed.ok()) return parsed.status();
  return [open, prefix = absl::StrCat(directory, "/"), manifest = std::make_shared<const Manifest>(*std::move(parsed))](
             const std::string& path) -> absl::StatusOr<std::unique_ptr<RandomAccessFile>> {
    absl::StatusOr<std::unique_ptr<RandomAccessFile>> file = open(path);
    const auto expected = manifest->find(std::string(absl::StripPrefix(path, prefix)));
    if (!file.ok() || expected == manifest->end()) return file;
    if ((*file)->size() != expected->second.bytes) {
      return absl::DataLossError(absl::StrCat(path, ": the file has ", (*file)->size(), " bytes, not ",
                                              expected->second.bytes, " as ", kManifestName,
                                              " says: it is damaged, or was changed after it was written"));
    }
    return std::make_unique<VerifiedFile>(*std::move(file), expected->second, manifest);
  };
}

}  // namespace switchyard
