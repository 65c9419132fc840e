// How far reading a checkpoint has come: one line that is rewritten on a terminal, elsewhere a log line for each file.
//
//   loading 3/19 model-00003-of-00019.safetensors  12.4 of 96.8 GB  2.31 GB/s  ETA 36 s
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace switchyard {

struct ProgressReport {
  std::string what;        // "loading"; another word begins a new count of time
  int64_t shard = 0;       // the file that is being read, counted from 0
  int64_t num_shards = 0;  // 0: unknown
  std::string shard_path;  // of which the last component is shown
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;  // 0: unknown
};

// What a ProgressLine says and when. Not thread-safe.
class ProgressText {
 public:
  // The line to show at `now`; empty: none yet. `is_terminal`: at most 10 a second; otherwise one per file, and one
  // every 10 seconds of a large one. The rate is that since the first report of the same `what`.
  std::string Next(const ProgressReport& report, absl::Time now, bool is_terminal);

 private:
  std::string what_;
  int64_t shard_ = 0;
  int64_t first_bytes_ = 0;
  absl::Time first_time_ = absl::InfinitePast();
  absl::Time last_shown_ = absl::InfinitePast();
};

// Thread-safe.
class ProgressLine {
 public:
  ProgressLine();

  void Show(const ProgressReport& report);
  // Clears the terminal's line.
  void End();

 private:
  // constant after construction
  const bool is_terminal_;

  absl::Mutex mu_;
  ProgressText text_ ABSL_GUARDED_BY(mu_);
};

}  // namespace switchyard
