// What `switchyard doctor` finds out about the GPUs of this machine, as plain values. engine/device_advice.h reads it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/collective_timing.h"
#include "kernels/device_info.h"

namespace switchyard {

struct DeviceReportOptions {
  std::vector<int> gpus;  // one rank each, as for `switchyard serve`; empty: all, once each
  bool staged_collectives = false;
  absl::Duration collective_timeout = absl::Seconds(60);
  CollectiveSizes sizes;
};

// An ordered pair of GPUs.
struct PairReport {
  int from = 0;
  int to = 0;
  absl::Status status;  // of the test itself
  PeerCopy copy;        // if that is OK
};

struct DeviceReport {
  std::vector<int> ranks;     // the GPU of each
  std::vector<GpuInfo> gpus;  // in order of index, each once
  std::string driver;         // "580.95.05"
  std::string nccl_version;   // "2.28.9"; "none"
  std::vector<PairReport> pairs;

  // Of two ranks and more; empty otherwise.
  absl::Status collectives_status;
  std::string transport;                      // "nccl 2.28.9"
  std::string staged_because;                 // empty where nothing is staged
  CollectiveSizes sizes;                      // as measured
  std::vector<CollectiveTiming> collectives;  // times of rank 0; intact if they are on every rank

  bool shares_gpu() const { return gpus.size() < ranks.size(); }
};

// Takes some seconds; `progress` is told what comes next ("copies between GPU 0 and GPU 1"). A GPU that is not there,
// no driver, a build without CUDA: errors as ListGpus. What fails after that is in the report.
absl::StatusOr<DeviceReport> CollectDeviceReport(const DeviceReportOptions& options,
                                                 const std::function<void(const std::string&)>& progress);

}  // namespace switchyard
