#include "server/commands/doctor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/device_advice.h"
#include "engine/device_report.h"
#include "server/commands/startup.h"

namespace switchyard {
namespace {

std::string ComputeCapability(const GpuInfo& gpu) { return absl::StrCat(gpu.major, ".", gpu.minor); }

const char* YesNo(bool value) { return value ? "yes" : "no"; }

// Columns as wide as their widest cell; the first to the left, the others to the right.
std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      // No spaces at the end of a line.
      absl::StrAppend(&text, i == 0 ? row[i] + (row.size() > 1 ? padding : "") : "  " + padding + row[i]);
    }
    text += "\n";
  }
  return text;
}

std::string GpuTable(const DeviceReport& report) {
  const auto gib = [](int64_t bytes) { return absl::StrFormat("%.2f", static_cast<double>(bytes) / (1 << 30)); };
  std::vector<std::vector<std::string>> rows = {
      {"GPU", "compute capability", "processors", "GiB free", "GiB in all", "CUDA of driver"}};
  for (const GpuInfo& gpu : report.gpus) {
    rows.push_back({absl::StrCat(gpu.index, "  ", gpu.name), ComputeCapability(gpu), absl::StrCat(gpu.multiprocessors),
                    gib(gpu.free_bytes), gib(gpu.total_bytes), gpu.driver_version});
  }
  return Table(rows);
}

std::string PairTable(const DeviceReport& report) {
  std::vector<std::vector<std::string>> rows = {{"copy of 64 MiB", "peer access", "arrives intact", "GB/s"}};
  for (const PairReport& pair : report.pairs) {
    const std::string name = absl::StrCat("GPU ", pair.from, " to GPU ", pair.to);
    if (pair.status.ok()) {
      rows.push_back({name, YesNo(pair.copy.peer_access), YesNo(pair.copy.intact),
                      absl::StrFormat("%.2f", pair.copy.bytes_per_second / 1e9)});
    } else {
      rows.push_back({name, absl::StrCat("failed: ", pair.status.message())});
    }
  }
  return Table(rows);
}

std::string Amount(int64_t bytes) {
  return bytes < 1'000'000 ? absl::StrFormat("%.0f KB", static_cast<double>(bytes) / 1e3)
                           : absl::StrFormat("%.0f MB", static_cast<double>(bytes) / 1e6);
}

double GigabytesPerSecond(int64_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) / seconds / 1e9 : 0;
}

std::string CollectiveTable(const DeviceReport& report) {
  const std::string small = Amount(report.sizes.small_bytes);
  const std::string large = Amount(report.sizes.large_bytes);
  std::vector<std::vector<std::string>> rows = {{absl::StrCat(report.ranks.size(), " ranks, ", report.transport),
                                                 absl::StrCat(small, ": us"), "GB/s", absl::StrCat(large, ": ms"),
                                                 "GB/s", "right"}};
  for (const CollectiveTiming& timing : report.collectives) {
    rows.push_back({timing.name, absl::StrFormat("%.1f", timing.small_seconds * 1e6),
                    absl::StrFormat("%.2f", GigabytesPerSecond(report.sizes.small_bytes, timing.small_seconds)),
                    absl::StrFormat("%.2f", timing.large_seconds * 1e3),
                    absl::StrFormat("%.2f", GigabytesPerSecond(report.sizes.large_bytes, timing.large_seconds)),
                    YesNo(timing.intact)});
  }
  return Table(rows);
}

std::string ToText(const DeviceReport& report, const std::vector<DeviceAdvice>& advice) {
  std::string text = GpuTable(report);
  absl::StrAppend(&text, "\ndriver ", report.driver, "; NCCL ", report.nccl_version, "; ranks on GPUs ",
                  absl::StrJoin(report.ranks, ","), "\n");
  if (!report.pairs.empty()) absl::StrAppend(&text, "\n", PairTable(report));
  if (!report.collectives.empty()) absl::StrAppend(&text, "\n", CollectiveTable(report));
  text += "\nAdvice\n";
  for (const DeviceAdvice& entry : advice) absl::StrAppend(&text, "  ", Name(entry.level), ": ", entry.text, "\n");
  return text;
}

nlohmann::ordered_json GpusToJson(const DeviceReport& report) {
  nlohmann::ordered_json gpus = nlohmann::ordered_json::array();
  for (const GpuInfo& gpu : report.gpus) {
    gpus.push_back({{"index", gpu.index},
                    {"name", gpu.name},
                    {"uuid", gpu.uuid},
                    {"compute_capability", ComputeCapability(gpu)},
                    {"multiprocessors", gpu.multiprocessors},
                    {"free_bytes", gpu.free_bytes},
                    {"total_bytes", gpu.total_bytes},
                    {"driver_cuda_version", gpu.driver_version}});
  }
  return gpus;
}

nlohmann::ordered_json PairsToJson(const DeviceReport& report) {
  nlohmann::ordered_json pairs = nlohmann::ordered_json::array();
  for (const PairReport& pair : report.pairs) {
    nlohmann::ordered_json entry = {{"from", pair.from}, {"to", pair.to}};
    if (pair.status.ok()) {
      entry["peer_access"] = pair.copy.peer_access;
      entry["intact"] = pair.copy.intact;
      entry["bytes_per_second"] = pair.copy.bytes_per_second;
    } else {
      entry["message"] = std::string(pair.status.message());
    }
    pairs.push_back(std::move(entry));
  }
  return pairs;
}

nlohmann::ordered_json CollectivesToJson(const DeviceReport& report) {
  nlohmann::ordered_json collectives = nlohmann::ordered_json::array();
  for (const CollectiveTiming& timing : report.collectives) {
    collectives.push_back({{"name", timing.name},
                           {"small_bytes", report.sizes.small_bytes},
                           {"small_seconds", timing.small_seconds},
                           {"large_bytes", report.sizes.large_bytes},
                           {"large_seconds", timing.large_seconds},
                           {"intact", timing.intact}});
  }
  return collectives;
}

std::string ToJson(const DeviceReport& report, const std::vector<DeviceAdvice>& advice) {
  nlohmann::ordered_json object;
  object["usable"] = IsUsable(advice);
  object["driver"] = report.driver;
  object["nccl_version"] = report.nccl_version;
  object["gpus"] = GpusToJson(report);
  object["ranks"] = report.ranks;
  object["pairs"] = PairsToJson(report);
  object["transport"] = report.transport;
  object["staged_because"] = report.staged_because;
  object["collectives"] = CollectivesToJson(report);
  object["advice"] = nlohmann::ordered_json::array();
  for (const DeviceAdvice& entry : advice) {
    object["advice"].push_back({{"level", Name(entry.level)}, {"text", entry.text}});
  }
  // Texts of drivers and libraries need not be UTF-8.
  return object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

int RunDoctor(const Settings& settings) {
  const EngineConfig& config = settings.engine;
  const absl::StatusOr<DeviceReport> report =
      CollectDeviceReport({.gpus = config.gpus,
                           .staged_collectives = config.staged_collectives,
                           .collective_timeout = config.collective_timeout},
                          [](const std::string& what) { spdlog::info("looking at {}", what); });
  if (!report.ok()) {
    Report(report.status());
    return kExitRefused;
  }
  const std::vector<DeviceAdvice> advice = AdviseOn(*report);
  std::cout << (settings.doctor.json ? ToJson(*report, advice) : ToText(*report, advice)) << std::flush;
  return IsUsable(advice) ? kExitOk : kExitRefused;
}

}  // namespace switchyard
