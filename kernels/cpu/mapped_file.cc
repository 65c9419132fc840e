#include "kernels/cpu/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

absl::Status Failure(int error, const std::string& directory, size_t bytes) {
  const std::string text = absl::StrCat("--offload-dir ", directory, ": cannot make a file of ", bytes, " bytes");
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    struct statvfs disk = {};
    const bool is_known = statvfs(directory.c_str(), &disk) == 0;
    return absl::ResourceExhaustedError(
        absl::StrCat(text, ": its disk has ", is_known ? absl::StrCat(disk.f_bavail * disk.f_frsize) : "too few",
                     " bytes free; make room there, or name a directory on another disk"));
  }
  return absl::ErrnoToStatus(error, absl::StrCat(text, "; name a directory that exists and can be written to"));
}

// Without a name; -1 and errno on failure.
int OpenUnnamed(const std::string& directory) {
  const int file = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return file;
  // A file system that has none without.
  std::string path = directory + "/switchyard-experts-XXXXXX";
  const int named = mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) unlink(path.c_str());
  return named;
}

// 0, or an errno.
int Reserve(int file, size_t bytes) {
  // Some file systems find out that they are too small only once they are full.
  struct statvfs disk = {};
  if (fstatvfs(file, &disk) == 0 && disk.f_bavail < bytes / disk.f_frsize) return ENOSPC;
  int error = 0;
  do {
    error = posix_fallocate(file, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  return error;
}

}  // namespace

absl::StatusOr<Buffer> CreateMappedFile(const std::string& directory, size_t bytes) {
  if (bytes == 0) return Buffer();
  const int file = OpenUnnamed(directory);
  if (file < 0) return Failure(errno, directory, bytes);
  if (const int error = Reserve(file, bytes); error != 0) {
    close(file);
    return Failure(error, directory, bytes);
  }
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const int error = errno;
  close(file);
  if (data == MAP_FAILED) return Failure(error, directory, bytes);
  return Buffer(data, bytes, [bytes](void* mapped) { munmap(mapped, bytes); });
}

}  // namespace switchyard
