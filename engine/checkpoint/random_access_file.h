// A file read at offsets. The interface lets tests see, and disturb, every byte that the loader asks for.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard {

// Thread safety: any number of concurrent readers.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  virtual const std::string& path() const = 0;
  // Bytes, when the file was opened.
  virtual int64_t size() const = 0;
  // Fills `out` completely from `offset`. DATA_LOSS if the file ends first; UNAVAILABLE with the system's reason.
  virtual absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const = 0;
  // A hint that these bytes will be read soon: the system may fetch them while the caller does something else.
  virtual void WillNeed(int64_t /*offset*/, int64_t /*bytes*/) const {}
};

using FileOpener = std::function<absl::StatusOr<std::unique_ptr<RandomAccessFile>>(const std::string& path)>;

// A regular file through pread(2). NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (not a regular file) names it.
absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenPosixFile(const std::string& path);

// Bytes read into `out` from `offset`, 0 at the end of the file, -1 with errno set: pread(2) with its descriptor bound.
using PreadFunction = std::function<ssize_t(void* out, size_t bytes, int64_t offset)>;

// Calls `pread` until `out` is full, through interruptions and short reads. Errors as ReadAt.
absl::Status ReadFully(const std::string& path, const PreadFunction& pread, int64_t offset, std::span<std::byte> out);

// The whole file, which must not be larger than `max_bytes` (INVALID_ARGUMENT names both sizes).
absl::StatusOr<std::string> ReadTextFile(const FileOpener& open, const std::string& path, int64_t max_bytes);

}  // namespace switchyard
