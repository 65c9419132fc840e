#include "server/commands/progress_line.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace switchyard {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kLogInterval = absl::Seconds(10);

// Three significant digits of small numbers, which tests' models have.
std::string Gigabytes(int64_t bytes) {
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  return bytes < 1'000'000'000 ? absl::StrFormat("%.3f", gigabytes) : absl::StrFormat("%.1f", gigabytes);
}

std::string Describe(const ProgressReport& report, double bytes_per_second) {
  std::string line = report.what;
  if (report.num_shards > 0) {
    absl::StrAppend(&line, " ", report.shard + 1, "/", report.num_shards, " ",
                    std::filesystem::path(report.shard_path).filename().string());
  }
  if (report.bytes_total == 0) return absl::StrCat(line, " ...");
  absl::StrAppend(&line, "  ", Gigabytes(report.bytes_done), " of ", Gigabytes(report.bytes_total), " GB");
  if (bytes_per_second <= 0) return line;
  const double seconds_left = static_cast<double>(report.bytes_total - report.bytes_done) / bytes_per_second;
  absl::StrAppendFormat(&line, "  %.2f GB/s  ETA %.0f s", bytes_per_second / 1e9, std::ceil(seconds_left));
  return line;
}

}  // namespace

std::string ProgressText::Next(const ProgressReport& report, absl::Time now, bool is_terminal) {
  const bool is_new = report.what != what_;
  if (is_new) {
    what_ = report.what;
    first_bytes_ = report.bytes_done;
    first_time_ = now;
  }
  const bool is_due = now - last_shown_ >= (is_terminal ? kTerminalInterval : kLogInterval);
  if (!is_new && !is_due && (is_terminal || report.shard == shard_)) return "";
  last_shown_ = now;
  shard_ = report.shard;
  const double seconds = absl::ToDoubleSeconds(now - first_time_);
  return Describe(report, seconds > 0 ? static_cast<double>(report.bytes_done - first_bytes_) / seconds : 0);
}

ProgressLine::ProgressLine() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressLine::Show(const ProgressReport& report) {
  absl::MutexLock lock(&mu_);
  const std::string line = text_.Next(report, absl::Now(), is_terminal_);
  if (line.empty()) return;
  if (is_terminal_) {
    absl::FPrintF(stderr, "\r\033[K%s", line);
    std::fflush(stderr);
  } else {
    spdlog::info("{}", line);
  }
}

void ProgressLine::End() {
  absl::MutexLock lock(&mu_);
  if (!is_terminal_) return;
  absl::FPrintF(stderr, "\r\033[K");
  std::fflush(stderr);
}

}  // namespace switchyard
