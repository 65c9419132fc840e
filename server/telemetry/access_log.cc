#include "server/telemetry/access_log.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace switchyard {
namespace {

constexpr size_t kMaxWaitingLines = 16 * 1024;
constexpr size_t kMaxLinesPerWrite = 256;
constexpr absl::Duration kWritePeriod = absl::Milliseconds(20);
constexpr absl::Duration kWarningPeriod = absl::Seconds(60);
constexpr size_t kMaxPath = 256;
constexpr size_t kMaxRequestId = 128;

nlohmann::ordered_json Milliseconds(absl::Duration duration) {
  return static_cast<double>(absl::ToInt64Microseconds(duration)) / 1000;
}

nlohmann::ordered_json OrNull(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
}

template <typename Number>
nlohmann::ordered_json OrNull(const std::optional<Number>& number) {
  return number.has_value() ? nlohmann::ordered_json(*number) : nlohmann::ordered_json();
}

}  // namespace

std::string ToAccessLogLine(const RequestRecord& record) {
  nlohmann::ordered_json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", record.begin, absl::UTCTimeZone());
  line["protocol"] = record.protocol;
  line["method"] = OrNull(record.method);
  line["path"] = OrNull(record.path.substr(0, kMaxPath));
  line["status"] = record.status;
  line["complete"] = record.complete;
  line["bytes"] = OrNull(record.bytes);
  line["duration_ms"] = Milliseconds(record.duration);
  line["time_to_first_byte_ms"] =
      record.time_to_first_byte.has_value() ? Milliseconds(*record.time_to_first_byte) : nlohmann::ordered_json();
  line["request_id"] = OrNull(record.request_id.substr(0, kMaxRequestId));
  line["client"] = OrNull(record.client);
  line["key"] = OrNull(record.key);
  line["prompt_tokens"] = OrNull(record.prompt_tokens);
  line["completion_tokens"] = OrNull(record.completion_tokens);
  line["trace_id"] = OrNull(record.trace_id);
  return absl::StrCat(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "\n");
}

class AccessLog::File {
 public:
  static absl::StatusOr<std::shared_ptr<const File>> Open(const std::string& path) {
    if (path == "-") return std::make_shared<const File>(STDOUT_FILENO);
    const int descriptor = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR | S_IRGRP);
    if (descriptor >= 0) return std::make_shared<const File>(descriptor);
    return absl::InvalidArgumentError(
        absl::StrCat("--access-log ", path, ": cannot be opened: ", std::strerror(errno)));
  }
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ != STDOUT_FILENO) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // 0, or the error's number.
  int Write(const std::string& text) const {
    for (size_t done = 0; done < text.size();) {
      const ssize_t written = write(descriptor_, text.data() + done, text.size() - done);
      if (written < 0 && errno != EINTR) return errno;
      if (written > 0) done += static_cast<size_t>(written);
    }
    return 0;
  }

 private:
  const int descriptor_;
};

absl::StatusOr<std::unique_ptr<AccessLog>> AccessLog::Open(const std::string& path) {
  absl::StatusOr<std::shared_ptr<const File>> file = File::Open(path);
  if (!file.ok()) return file.status();
  return std::unique_ptr<AccessLog>(new AccessLog(path, *std::move(file)));
}

AccessLog::AccessLog(std::string path, std::shared_ptr<const File> file)
    : path_(std::move(path)),
      file_(std::move(file)),
      queue_({.capacity = kMaxWaitingLines, .max_batch = kMaxLinesPerWrite, .period = kWritePeriod},
             [this](const std::vector<std::string>& lines) { return WriteLines(lines); }) {}

absl::Status AccessLog::Reopen() {
  absl::StatusOr<std::shared_ptr<const File>> opened = File::Open(path_);
  if (!opened.ok()) return opened.status();
  absl::MutexLock lock(&mu_);
  file_ = *std::move(opened);
  return absl::OkStatus();
}

bool AccessLog::WriteLines(const std::vector<std::string>& lines) {
  std::shared_ptr<const File> file;
  {
    absl::MutexLock lock(&mu_);
    file = file_;
  }
  const int error = file->Write(absl::StrJoin(lines, ""));
  if (error == 0) return true;
  if (absl::Now() - last_warning_ > kWarningPeriod) {
    last_warning_ = absl::Now();
    spdlog::warn("--access-log {}: lines are lost: {}", path_, std::strerror(error));
  }
  return false;
}

}  // namespace switchyard
