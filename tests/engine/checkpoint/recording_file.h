// Files that remember what was read of them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/checkpoint/random_access_file.h"

namespace switchyard {

// Which bytes of which file were read, and how often. Thread-safe.
class ReadRecord {
 public:
  void Add(const std::string& path, int64_t offset, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    ranges_[path].emplace(offset, offset + bytes);
    total_ += bytes;
    largest_ = std::max(largest_, bytes);
  }
  void Clear() {
    const std::lock_guard lock(mutex_);
    ranges_.clear();
    total_ = largest_ = 0;
  }
  int64_t total() const { return total_; }
  int64_t largest() const { return largest_; }
  // Bytes of [begin, end) of the file that were read, each counted as often as it was.
  int64_t BytesWithin(const std::string& path, int64_t begin, int64_t end) const {
    int64_t bytes = 0;
    const auto found = ranges_.find(path);
    if (found == ranges_.end()) return 0;
    for (const auto& [from, to] : found->second) {
      bytes += std::max<int64_t>(0, std::min(to, end) - std::max(from, begin));
    }
    return bytes;
  }
  // Opens files that write into this record, which must outlive them.
  FileOpener Opener();

 private:
  std::mutex mutex_;
  std::map<std::string, std::multimap<int64_t, int64_t>> ranges_;
  int64_t total_ = 0;
  int64_t largest_ = 0;
};

class RecordingFile : public RandomAccessFile {
 public:
  RecordingFile(std::unique_ptr<RandomAccessFile> file, ReadRecord& record) : file_(std::move(file)), record_(record) {}

  const std::string& path() const override { return file_->path(); }
  int64_t size() const override { return file_->size(); }
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const override {
    record_.Add(path(), offset, static_cast<int64_t>(out.size()));
    return file_->ReadAt(offset, out);
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
