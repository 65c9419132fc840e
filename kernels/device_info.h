// The GPUs of this machine, as `switchyard plan` and `switchyard doctor` show them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard {

struct GpuInfo {
  int index = 0;
  std::string name;  // "NVIDIA GeForce RTX 4060 Ti"
  int major = 0;     // compute capability
  int minor = 0;
  int multiprocessors = 0;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;      // with this process's context made: what can be allocated now
  std::string uuid;            // of the card, the same on every process that sees it
  std::string driver_version;  // highest CUDA version that the driver supports, "13.0"
};

// Those of `indices`, each once, or all where it is empty; in order of index. Makes a context on each: some 300 MB.
// UNIMPLEMENTED with the remedy in its text where the build has no CUDA; NOT_FOUND where there is no such GPU or no
// driver.
absl::StatusOr<std::vector<GpuInfo>> ListGpus(std::span<const int> indices = {});

// What a copy between two GPUs does.
struct PeerCopy {
  bool peer_access = false;  // the driver offers direct access
  bool intact = false;       // a pattern arrived unchanged
  double bytes_per_second = 0;
};

// Copies a pattern of 64 MiB from GPU `from` to GPU `to`, directly where the driver offers that (access then stays on
// for this process), and checks and times it. Errors as ListGpus.
absl::StatusOr<PeerCopy> MeasurePeerCopy(int from, int to);

}  // namespace switchyard
