#include "engine/checkpoint/random_access_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

// Linux fetches no more of one hint than the disk's read-ahead window or largest request; this is the usual window.
constexpr int64_t kHintBytes = int64_t{128} << 10;

class PosixFile : public RandomAccessFile {
 public:
  PosixFile(std::string path, int descriptor, int64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;
  ~PosixFile() override { close(descriptor_); }

  const std::string& path() const override { return path_; }
  int64_t size() const override { return size_; }
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const override {
    const PreadFunction read = [this](void* to, size_t bytes, int64_t at) { return pread(descriptor_, to, bytes, at); };
    return ReadFully(path_, read, offset, out);
  }
  void WillNeed(int64_t offset, int64_t bytes) const override {
    for (int64_t done = 0; done < bytes; done += kHintBytes) {
      posix_fadvise(descriptor_, offset + done, std::min(kHintBytes, bytes - done), POSIX_FADV_WILLNEED);
    }
  }

 private:
  const std::string path_;
  const int descriptor_;
  const int64_t size_;
};

absl::Status OpenError(const std::string& path, int error) {
  const std::string message = absl::StrCat(path, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenPosixFile(const std::string& path) {
  // O_NONBLOCK: a FIFO in place of a file must be refused below, not waited for.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return OpenError(path, errno);
  struct stat info = {};
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor);
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  return std::make_unique<PosixFile>(path, descriptor, info.st_size);
}

absl::Status ReadFully(const std::string& path, const PreadFunction& pread, int64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const int64_t at = offset + static_cast<int64_t>(done);
    const ssize_t count = pread(out.data() + done, out.size() - done, at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return absl::UnavailableError(absl::StrCat(path, ": reading ", out.size() - done, " bytes at offset ", at,
                                                 " failed: ", std::strerror(errno)));
    }
    if (count == 0) {
      return absl::DataLossError(absl::StrCat(path, ": only ", done, " of ", out.size(),
                                              " bytes could be read at offset ", offset,
                                              ": the file has become shorter since it was opened"));
    }
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadTextFile(const FileOpener& open, const std::string& path, int64_t max_bytes) {
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> file = open(path);
  if (!file.ok()) return file.status();
  const int64_t size = (*file)->size();
  if (size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the file has ", size, " bytes; at most ", max_bytes, " are allowed"));
  }
  std::string text(static_cast<size_t>(size), '\0');
  const absl::Status read = (*file)->ReadAt(0, std::as_writable_bytes(std::span(text)));
  if (!read.ok()) return read;
  return text;
}

}  // namespace switchyard
