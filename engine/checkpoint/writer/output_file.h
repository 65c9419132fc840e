// A file that is written from beginning to end, and its place in a manifest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/manifest.h"

namespace switchyard {

// Errors name the file: RESOURCE_EXHAUSTED where the disk or a quota is full, UNAVAILABLE with the system's reason.
class OutputFile {
 public:
  // The file must not exist yet.
  static absl::StatusOr<OutputFile> Create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  absl::Status Write(std::span<const std::byte> bytes);
  // Closes the file, with `sync` once it is on the disk. Nothing can be written afterwards.
  absl::StatusOr<ManifestFile> Finish(bool sync);

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }

 private:
  OutputFile(std::string path, int descriptor);

  std::string path_;
  int descriptor_;
  int64_t bytes_ = 0;
  Sha256 sha256_;
};

absl::StatusOr<ManifestFile> WriteTextFile(const std::string& path, absl::string_view text, bool sync);
absl::StatusOr<ManifestFile> CopyTo(const std::string& from, const std::string& to, bool sync);
// Entries of a directory are on the disk when it is.
absl::Status SyncDirectory(const std::string& path);

}  // namespace switchyard
