#include "engine/checkpoint/writer/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr int64_t kCopyBytes = int64_t{1} << 20;
// Linux writes no more than some 2 GiB at once.
constexpr size_t kMostBytes = size_t{1} << 30;

absl::Status Failure(const std::string& path, absl::string_view what, int error) {
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return is_full ? absl::ResourceExhaustedError(message) : absl::UnavailableError(message);
}

}  // namespace

absl::StatusOr<OutputFile> OutputFile::Create(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return Failure(path, "cannot be created", errno);
  return OutputFile(path, descriptor);
}

OutputFile::OutputFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_(other.bytes_),
      sha256_(std::move(other.sha256_)) {}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::Status OutputFile::Write(std::span<const std::byte> bytes) {
  sha256_.Add(bytes);
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor_, bytes.data(), std::min(bytes.size(), kMostBytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure(path_, absl::StrCat("writing failed after ", bytes_, " bytes"), errno);
    bytes_ += count;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::StatusOr<ManifestFile> OutputFile::Finish(bool sync) {
  if (sync && fsync(descriptor_) != 0) return Failure(path_, "writing to the disk failed", errno);
  if (close(std::exchange(descriptor_, -1)) != 0) return Failure(path_, "closing failed", errno);
  return ManifestFile{.bytes = bytes_, .sha256 = sha256_.Finish()};
}

absl::StatusOr<ManifestFile> WriteTextFile(const std::string& path, absl::string_view text, bool sync) {
  absl::StatusOr<OutputFile> file = OutputFile::Create(path);
  if (!file.ok()) return file.status();
  absl::Status status = file->Write(std::as_bytes(std::span(text.data(), text.size())));
  if (!status.ok()) return status;
  return file->Finish(sync);
}

absl::StatusOr<ManifestFile> CopyTo(const std::string& from, const std::string& to, bool sync) {
  const absl::StatusOr<std::unique_ptr<RandomAccessFile>> source = OpenPosixFile(from);
  if (!source.ok()) return source.status();
  absl::StatusOr<OutputFile> file = OutputFile::Create(to);
  if (!file.ok()) return file.status();
  std::vector<std::byte> block;
  for (int64_t done = 0; done < (*source)->size(); done += kCopyBytes) {
    block.resize(static_cast<size_t>(std::min(kCopyBytes, (*source)->size() - done)));
    absl::Status status = (*source)->ReadAt(done, block);
    if (status.ok()) status = file->Write(block);
    if (!status.ok()) return status;
  }
  return file->Finish(sync);
}

absl::Status SyncDirectory(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return Failure(path, "cannot be opened", errno);
  const int failed = fsync(descriptor);
  const int error = errno;
  close(descriptor);
  return failed == 0 ? absl::OkStatus() : Failure(path, "writing to the disk failed", error);
}

}  // namespace switchyard
