// One JSON line for each request, to a file or to standard output, written by a thread of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/telemetry/batch_queue.h"
#include "server/telemetry/request_record.h"

namespace switchyard {

// Thread safety: every member from any thread.
class AccessLog {
 public:
  // `path`: a file, which is appended to and created for this user and group alone; or "-". INVALID_ARGUMENT names a
  // file that cannot be opened.
  static absl::StatusOr<std::unique_ptr<AccessLog>> Open(const std::string& path);

  // Never blocks. What a full disk or a stuck reader keeps from being written is dropped, and counted.
  void Write(const RequestRecord& record) { queue_.Push(ToAccessLogLine(record)); }
  // Goes on in a file of the same path: the old one was moved away. After an error the old one stays.
  absl::Status Reopen();
  uint64_t dropped() const { return queue_.dropped(); }

 private:
  // Closes its descriptor, unless that is standard output's.
  class File;

  AccessLog(std::string path, std::shared_ptr<const File> file);
  bool WriteLines(const std::vector<std::string>& lines);

  const std::string path_;
  absl::Mutex mu_;
  std::shared_ptr<const File> file_ ABSL_GUARDED_BY(mu_);
  absl::Time last_warning_ = absl::InfinitePast();  // the queue's thread's
  BatchQueue<std::string> queue_;                   // ends first
};

}  // namespace switchyard
