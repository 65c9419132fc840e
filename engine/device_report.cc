#include "engine/device_report.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/driver_release.h"
#include "kernels/backend.h"
#include "kernels/check.h"
#include "parallel/communicators/device_ranks.h"
#include "parallel/communicators/in_process.h"
#include "parallel/communicators/nccl.h"

namespace switchyard {
namespace {

// What one rank found.
struct RankFinding {
  absl::Status status;
  std::string transport;
  std::string staged_because;
  std::vector<CollectiveTiming> timings;
};

absl::StatusOr<RankFinding> MeasureRank(const DeviceReportOptions& options, const GpuInfo& gpu, Communicator& host) {
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      CreateCudaBackend({.device_index = gpu.index, .activation_dtype = DType::kBFloat16});
  if (!backend.ok()) return backend.status();
  const CollectiveSizes sizes = RoundUpToRows(options.sizes, host.size());
  const absl::StatusOr<DeviceCommunicator> data =
      ConnectDevice({.device_id = gpu.uuid,
                     .force_staged = options.staged_collectives,
                     .connect_timeout = options.collective_timeout,
                     .step_timeout = options.collective_timeout,
                     .max_message_bytes = static_cast<size_t>(sizes.large_bytes)},
                    host, **backend);
  if (!data.ok()) return data.status();
  absl::StatusOr<std::vector<CollectiveTiming>> timings = TimeCollectives(sizes, **backend, data->get());
  if (!timings.ok()) {
    data->get().Abort(absl::UnavailableError(absl::StrCat("rank ", host.rank(), ": ", timings.status().message())));
    return timings.status();
  }
  return RankFinding{.status = absl::OkStatus(),
                     .transport = data->get().transport(),
                     .staged_because = data->staged_because,
                     .timings = *std::move(timings)};
}

RankFinding RunRank(const DeviceReportOptions& options, const GpuInfo& gpu, Communicator& host) {
  absl::StatusOr<RankFinding> finding = MeasureRank(options, gpu, host);
  if (finding.ok()) return *std::move(finding);
  // Others may be waiting for this rank to connect.
  host.Abort(absl::UnavailableError(absl::StrCat("rank ", host.rank(), ": ", finding.status().message())));
  return {.status = absl::Status(finding.status().code(), absl::StrCat("rank ", host.rank(), " on GPU ", gpu.index,
                                                                       ": ", finding.status().message()))};
}

// The cause comes before what it did to the other ranks.
absl::Status FirstCause(const std::vector<RankFinding>& findings) {
  absl::Status first;
  for (const RankFinding& finding : findings) {
    if (!finding.status.ok() && !absl::IsUnavailable(finding.status)) return finding.status;
    first.Update(finding.status);
  }
  return first;
}

const GpuInfo& InfoOf(const DeviceReport& report, int index) {
  const auto found =
      std::find_if(report.gpus.begin(), report.gpus.end(), [index](const GpuInfo& gpu) { return gpu.index == index; });
  CHECK(found != report.gpus.end());
  return *found;
}

void MeasureCollectives(const DeviceReportOptions& options, DeviceReport& report) {
  const size_t size = report.ranks.size();
  const std::vector<std::unique_ptr<Communicator>> hosts =
      CreateInProcessCommunicators(static_cast<int>(size), options.collective_timeout);
  std::vector<RankFinding> findings(size);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < size; ++i) {
    threads.emplace_back([&, i] { findings[i] = RunRank(options, InfoOf(report, report.ranks[i]), *hosts[i]); });
  }
  for (std::thread& thread : threads) thread.join();

  report.collectives_status = FirstCause(findings);
  if (!report.collectives_status.ok()) return;
  report.transport = findings.front().transport;
  report.staged_because = findings.front().staged_because;
  report.collectives = findings.front().timings;
  for (const RankFinding& finding : findings) {
    for (size_t i = 0; i < report.collectives.size(); ++i) {
      report.collectives[i].intact = report.collectives[i].intact && finding.timings[i].intact;
    }
  }
}

}  // namespace

absl::StatusOr<DeviceReport> CollectDeviceReport(const DeviceReportOptions& options,
                                                 const std::function<void(const std::string&)>& progress) {
  progress("GPUs");
  absl::StatusOr<std::vector<GpuInfo>> gpus = ListGpus(options.gpus);
  if (!gpus.ok()) return gpus.status();
  DeviceReport report = {
      .ranks = options.gpus, .gpus = *std::move(gpus), .driver = DriverRelease(), .nccl_version = NcclVersion()};
  if (report.ranks.empty()) {
    for (const GpuInfo& gpu : report.gpus) report.ranks.push_back(gpu.index);
  }
  for (const GpuInfo& from : report.gpus) {
    for (const GpuInfo& to : report.gpus) {
      if (from.index == to.index) continue;
      progress(absl::StrCat("copies from GPU ", from.index, " to GPU ", to.index));
      const absl::StatusOr<PeerCopy> copy = MeasurePeerCopy(from.index, to.index);
      report.pairs.push_back(
          {.from = from.index, .to = to.index, .status = copy.status(), .copy = copy.ok() ? *copy : PeerCopy()});
    }
  }
  if (report.ranks.size() > 1) {
    progress(absl::StrCat("collectives of ", report.ranks.size(), " ranks"));
    report.sizes = RoundUpToRows(options.sizes, static_cast<int>(report.ranks.size()));
    MeasureCollectives(options, report);
  }
  return report;
}

}  // namespace switchyard
