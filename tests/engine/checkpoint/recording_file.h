// Files that remember what was read of them, and can be made to fail.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/random_access_file.h"

namespace switchyard {

// Bytes [begin, end) of a file.
struct ByteRange {
  std::string path;
  int64_t begin = 0;
  int64_t end = 0;

  auto operator<=>(const ByteRange&) const = default;
};

// Which bytes of which file were read, and in which order. Thread-safe, the getters once nothing is read any more.
class ReadRecord {
 public:
  // Called before each read, on its thread; a read whose hook fails does nothing else.
  using Hook = std::function<absl::Status(const ByteRange& range)>;

  explicit ReadRecord(Hook hook = nullptr) : hook_(std::move(hook)) {}

  absl::Status Add(const ByteRange& range) {
    {
      const std::lock_guard lock(mutex_);
      reads_.push_back(range);
    }
    return hook_ ? hook_(range) : absl::OkStatus();
  }
  void AddHint(const ByteRange& range) {
    const std::lock_guard lock(mutex_);
    hints_.push_back(range);
  }
  void Clear() {
    const std::lock_guard lock(mutex_);
    reads_.clear();
    hints_.clear();
  }
  const std::vector<ByteRange>& reads() const { return reads_; }
  const std::vector<ByteRange>& hints() const { return hints_; }  // of WillNeed
  int64_t total() const {
    int64_t bytes = 0;
    for (const ByteRange& read : reads_) bytes += read.end - read.begin;
    return bytes;
  }
  int64_t largest() const {
    int64_t bytes = 0;
    for (const ByteRange& read : reads_) bytes = std::max(bytes, read.end - read.begin);
    return bytes;
  }
  // Bytes of the range that were read, each counted as often as it was.
  int64_t BytesWithin(const std::string& path, int64_t begin, int64_t end) const {
    int64_t bytes = 0;
    for (const ByteRange& read : reads_) {
      if (read.path == path) bytes += std::max<int64_t>(0, std::min(read.end, end) - std::max(read.begin, begin));
    }
    return bytes;
  }
  // Whether no byte of any file was read twice.
  bool IsWithoutOverlap() const {
    std::vector<ByteRange> sorted = reads_;
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end(), [](const ByteRange& a, const ByteRange& b) {
             return a.path == b.path && a.end > b.begin;
           }) == sorted.end();
  }
  // Opens files that write into this record, which must outlive them.
  FileOpener Opener();

 private:
  const Hook hook_;
  std::mutex mutex_;
  std::vector<ByteRange> reads_;
  std::vector<ByteRange> hints_;
};

class RecordingFile : public RandomAccessFile {
 public:
  RecordingFile(std::unique_ptr<RandomAccessFile> file, ReadRecord& record) : file_(std::move(file)), record_(record) {}

  const std::string& path() const override { return file_->path(); }
  int64_t size() const override { return file_->size(); }
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const override {
    absl::Status status = record_.Add({path(), offset, offset + static_cast<int64_t>(out.size())});
    return status.ok() ? file_->ReadAt(offset, out) : status;
  }
  void WillNeed(int64_t offset, int64_t bytes) const override {
    record_.AddHint({path(), offset, offset + bytes});
    file_->WillNeed(offset, bytes);
  }

 private:
  const std::unique_ptr<RandomAccessFile> file_;
  ReadRecord& record_;
};

inline FileOpener ReadRecord::Opener() {
  return [this](const std::string& path) -> absl::StatusOr<std::unique_ptr<RandomAccessFile>> {
    absl::StatusOr<std::unique_ptr<RandomAccessFile>> file = OpenPosixFile(path);
    if (!file.ok()) return file.status();
    return std::make_unique<RecordingFile>(*std::move(file), *this);
  };
}

}  // namespace switchyard
