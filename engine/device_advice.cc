#include "engine/device_advice.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace switchyard {
namespace {

using Level = DeviceAdvice::Level;

constexpr int kLeastMajor = 8;  // mma.sync of bfloat16 and cp.async begin with compute capability 8.0
// A context takes less; what is more belongs to another program.
constexpr int64_t kOthersBytes = int64_t{1} << 30;
// Cards whose memory differs by less count as equal.
constexpr double kEqualShare = 0.95;
constexpr int kSharedDeviceMinor = 30;  // NCCL 2.30 is the first that lets ranks share a GPU

std::string Gib(int64_t bytes) { return absl::StrFormat("%.1f", static_cast<double>(bytes) / (1 << 30)); }

std::string Card(const GpuInfo& gpu) { return absl::StrCat("GPU ", gpu.index, " (", gpu.name, ")"); }

std::string PairName(const PairReport& pair) { return absl::StrCat("GPU ", pair.from, " to GPU ", pair.to); }

bool HasKernels(const GpuInfo& gpu) { return gpu.major >= kLeastMajor; }

// "2.28.9" is older than 2.30; "none" is not older than anything.
bool LacksSharedDevices(const std::string& nccl_version) {
  const std::vector<std::string> parts = absl::StrSplit(nccl_version, '.');
  int major = 0;
  int minor = 0;
  if (parts.size() < 2 || !absl::SimpleAtoi(parts[0], &major) || !absl::SimpleAtoi(parts[1], &minor)) return false;
  return major < 2 || (major == 2 && minor < kSharedDeviceMinor);
}

bool AllIntact(const DeviceReport& report) {
  return !report.collectives.empty() && std::all_of(report.collectives.begin(), report.collectives.end(),
                                                    [](const CollectiveTiming& timing) { return timing.intact; });
}

bool IsCorrupt(const PairReport& pair) { return pair.status.ok() && !pair.copy.intact; }

// Each unordered pair once.
std::vector<std::string> PairsWithoutPeerAccess(const DeviceReport& report) {
  std::set<std::pair<int, int>> pairs;
  for (const PairReport& pair : report.pairs) {
    if (pair.status.ok() && !pair.copy.peer_access) pairs.insert(std::minmax(pair.from, pair.to));
  }
  std::vector<std::string> names;
  for (const auto& [a, b] : pairs) names.push_back(absl::StrCat(a, " and ", b));
  return names;
}

class Adviser {
 public:
  explicit Adviser(const DeviceReport& report) : report_(report) {}

  std::vector<DeviceAdvice> Take() {
    AboutArchitecture();
    AboutCopies();
    AboutCollectives();
    AboutSharing();
    AboutMemory();
    AboutLatency();
    AboutCommand();
    std::stable_sort(advice_.begin(), advice_.end(),
                     [](const DeviceAdvice& a, const DeviceAdvice& b) { return a.level < b.level; });
    return std::move(advice_);
  }

 private:
  template <typename... Parts>
  void Add(Level level, const Parts&... parts) {
    advice_.push_back({.level = level, .text = absl::StrCat(parts...)});
  }

  void AboutArchitecture() {
    if (report_.ranks.empty()) Add(Level::kFault, "there is no GPU; `nvidia-smi -L` lists those that the driver sees");
    for (const GpuInfo& gpu : report_.gpus) {
      if (HasKernels(gpu)) continue;
      Add(Level::kFault, Card(gpu), " has compute capability ", gpu.major, ".", gpu.minor,
          "; the kernels need 8.0 or later (RTX 30, A100 and newer): leave it out with --gpus");
    }
  }

  void AboutCopies() {
    for (const PairReport& pair : report_.pairs) {
      if (!pair.status.ok()) {
        Add(Level::kFault, "the copy test from ", PairName(pair), " failed: ", pair.status.message());
      } else if (IsCorrupt(pair)) {
        // Right collectives show that they do not depend on these copies: NCCL's are off already, or staged.
        Add(AllIntact(report_) ? Level::kWarning : Level::kFault, "what is copied from ", PairName(pair),
            " arrives changed: set NCCL_P2P_DISABLE=1 in the environment of switchyard, or turn the IOMMU (VT-d, "
            "AMD-Vi) and PCIe ACS off in the BIOS",
            AllIntact(report_) ? "; the collectives gave the right results without these copies" : "");
      }
    }
  }

  void AboutCollectives() {
    if (!report_.collectives_status.ok()) {
      Add(Level::kFault, "the collectives failed: ", report_.collectives_status.message(),
          "; NCCL_DEBUG=INFO shows NCCL's reasons, and --collectives staged does without NCCL");
    }
    for (const CollectiveTiming& timing : report_.collectives) {
      if (timing.intact) continue;
      Add(Level::kFault, timing.name, " over ", report_.transport,
          " gave a wrong result: set NCCL_P2P_DISABLE=1 in the environment of switchyard, or use --collectives staged");
    }
    if (report_.staged_because.empty() || (report_.shares_gpu() && LacksSharedDevices(report_.nccl_version))) return;
    Add(Level::kWarning, "collectives are staged through host memory, and steps are not recorded as CUDA graphs: ",
        report_.staged_because);
  }

  void AboutSharing() {
    if (!report_.shares_gpu()) return;
    if (LacksSharedDevices(report_.nccl_version)) {
      Add(Level::kWarning, "NCCL ", report_.nccl_version,
          " lets no ranks share a GPU, so collectives are staged through host memory: install NCCL 2.30 or later");
    }
    Add(Level::kNote, "ranks that share a GPU divide its memory and its time: this is for development");
  }

  void AboutMemory() {
    for (const GpuInfo& gpu : report_.gpus) {
      const int64_t used = gpu.total_bytes - gpu.free_bytes;
      if (used <= kOthersBytes) continue;
      Add(Level::kWarning, Card(gpu), " has ", Gib(gpu.free_bytes), " of ", Gib(gpu.total_bytes),
          " GiB free: a desktop or another program holds ", Gib(used),
          " GiB (`nvidia-smi` shows which); end it, or leave it room to grow with --gpu-reserve 1GiB (512MiB unless "
          "given)",
          report_.gpus.size() > 1 ? "; the GPU with the least room decides the KV pages of every rank" : "");
    }
    if (report_.gpus.empty()) return;
    const auto [smallest, largest] =
        std::minmax_element(report_.gpus.begin(), report_.gpus.end(),
                            [](const GpuInfo& a, const GpuInfo& b) { return a.total_bytes < b.total_bytes; });
    if (static_cast<double>(smallest->total_bytes) >= kEqualShare * static_cast<double>(largest->total_bytes)) return;
    Add(Level::kNote, "the cards differ: ", Card(*smallest), ", with ", Gib(smallest->total_bytes), " GiB against ",
        Gib(largest->total_bytes),
        ", decides the KV pages of every rank; `switchyard plan --model DIR` shows what then is unused");
  }

  void AboutLatency() {
    const std::vector<std::string> apart = PairsWithoutPeerAccess(report_);
    const std::vector<LatencyFloor> floors = LatencyFloors(report_);
    if (!apart.empty()) {
      Add(Level::kNote, "no peer access between GPUs ", absl::StrJoin(apart, ", "),
          ": collectives go through host memory, so count them before their bytes",
          floors.empty() ? ""
                         : absl::StrCat("; for one request at a time prefer ", floors.front().flags,
                                        ", for many --attention replicated with --exchange auto"));
    }
    for (const LatencyFloor& floor : floors) {
      Add(Level::kNote, floor.flags, ": ", floor.collectives_per_layer,
          floor.collectives_per_layer == 1 ? " collective" : " collectives",
          absl::StrFormat(" in each layer; a model of %d layers waits for them at least %.2f ms per token",
                          kAdviceLayers, floor.seconds_per_token * 1e3));
    }
  }

  void AboutCommand() {
    const std::string line = ServeLine(report_);
    if (!line.empty()) Add(Level::kNote, "try: ", line);
  }

  const DeviceReport& report_;
  std::vector<DeviceAdvice> advice_;
};

}  // namespace

const char* Name(Level level) {
  switch (level) {
    case Level::kFault:
      return "fault";
    case Level::kWarning:
      return "warning";
    case Level::kNote:
      return "note";
  }
  return "unknown";
}

std::vector<LatencyFloor> LatencyFloors(const DeviceReport& report) {
  const auto seconds = [&report](const char* name) {
    const auto found = std::find_if(report.collectives.begin(), report.collectives.end(),
                                    [name](const CollectiveTiming& timing) { return timing.name == name; });
    return found == report.collectives.end() ? std::optional<double>() : found->small_seconds;
  };
  const std::optional<double> all_reduce = seconds("all_reduce");
  const std::optional<double> all_gather = seconds("all_gather");
  const std::optional<double> reduce_scatter = seconds("reduce_scatter");
  if (!all_reduce.has_value() || !all_gather.has_value() || !reduce_scatter.has_value()) return {};
  std::vector<LatencyFloor> floors = {
      {"--attention replicated --exchange all_reduce", 1, kAdviceLayers * *all_reduce},
      {"--attention replicated --exchange all_gather", 2, kAdviceLayers * (*all_gather + *reduce_scatter)},
      {"--attention tensor-parallel --exchange all_reduce", 2, kAdviceLayers * 2 * *all_reduce}};
  std::stable_sort(floors.begin(), floors.end(), [](const LatencyFloor& a, const LatencyFloor& b) {
    return a.seconds_per_token < b.seconds_per_token;
  });
  return floors;
}

std::vector<DeviceAdvice> AdviseOn(const DeviceReport& report) { return Adviser(report).Take(); }

bool IsUsable(const std::vector<DeviceAdvice>& advice) {
  return std::none_of(advice.begin(), advice.end(),
                      [](const DeviceAdvice& entry) { return entry.level == Level::kFault; });
}

std::string ServeLine(const DeviceReport& report) {
  std::vector<int> ranks;
  for (const int rank : report.ranks) {
    const bool has_kernels = std::any_of(report.gpus.begin(), report.gpus.end(),
                                         [rank](const GpuInfo& gpu) { return gpu.index == rank && HasKernels(gpu); });
    if (has_kernels) ranks.push_back(rank);
  }
  if (ranks.empty()) return "";
  std::string line = absl::StrCat("switchyard serve --device cuda --gpus ", absl::StrJoin(ranks, ","), " --model DIR");
  if (ranks.size() == 1) return line;
  if (!PairsWithoutPeerAccess(report).empty()) {
    const std::vector<LatencyFloor> floors = LatencyFloors(report);
    if (!floors.empty()) absl::StrAppend(&line, " ", floors.front().flags);
  }
  if (!AllIntact(report)) absl::StrAppend(&line, " --collectives staged");
  return line;
}

}  // namespace switchyard
