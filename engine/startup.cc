#include "engine/startup.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/checkpoint/manifest.h"
#include "engine/host_memory_info.h"
#include "engine/memory_fit.h"
#include "kernels/device_info.h"

namespace switchyard {
namespace {

// Bytes as two int32, which collectives carry.
constexpr int64_t kWordBase = int64_t{1} << 30;

// [world_size], from [local ranks] of every process.
absl::StatusOr<std::vector<int64_t>> GatherFreeBytes(std::span<const int64_t> local, const LocalRanks& ranks) {
  if (ranks.world_size == static_cast<int>(local.size())) return std::vector<int64_t>(local.begin(), local.end());
  std::vector<std::vector<int32_t>> gathered(local.size());
  std::vector<absl::Status> statuses(local.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < local.size(); ++i) {
    threads.emplace_back([&, i] {
      std::vector<int32_t> mine = {static_cast<int32_t>(local[i] / kWordBase),
                                   static_cast<int32_t>(local[i] % kWordBase)};
      gathered[i].resize(2 * static_cast<size_t>(ranks.world_size));
      statuses[i] =
          ranks.data[i]->AllGather(ConstTensorView::Of(std::span<const int32_t>(mine), Shape{1, 2}),
                                   TensorView::Of(std::span<int32_t>(gathered[i]), Shape{ranks.world_size, 2}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  std::vector<int64_t> all;
  for (size_t r = 0; r < static_cast<size_t>(ranks.world_size); ++r) {
    all.push_back(gathered.front()[2 * r] * kWordBase + gathered.front()[2 * r + 1]);
  }
  return all;
}

// As many bytes as this process's ranks keep offloaded must be there to be pinned.
absl::Status CheckPinnedMemory(const EnginePlan& plan, const Checkpoint& checkpoint, const LocalRanks& ranks) {
  int64_t need = 0;
  for (const auto& communicator : ranks.data) {
    const absl::StatusOr<RankMemory> memory = PlanRankMemory(plan, checkpoint, communicator->rank());
    if (!memory.ok()) return memory.status();
    need += memory->offloaded;
  }
  const absl::StatusOr<int64_t> available = AvailableHostBytes();
  if (!available.ok() || need <= *available) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("--offload-experts: the experts of this process's GPUs take %.2f GiB of pinned host memory; this "
                      "host has %.2f GiB: quantise them (--quantize nf4), or take a host with more memory",
                      static_cast<double>(need) / (1 << 30), static_cast<double>(*available) / (1 << 30)));
}

// Of config.json, whose constants (of RoPE, of norms) shapes do not show.
std::string ConfigDigest(const std::string& model_dir) {
  const std::filesystem::path path(model_dir);
  std::ifstream file(std::filesystem::is_directory(path) ? path / "config.json" : path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return Sha256Of(std::as_bytes(std::span(text))).substr(0, 16);
}

std::vector<std::pair<std::string, std::string>> FactsOf(const EngineConfig& config, const Checkpoint& checkpoint) {
  std::vector<std::pair<std::string, std::string>> facts = JobFacts(config, checkpoint.spec());
  facts.emplace_back("config.json (SHA-256)", ConfigDigest(config.model_dir));
  return facts;
}

absl::StatusOr<EnginePlan> FitToDevices(EnginePlan plan, const Checkpoint& checkpoint, const LocalRanks& ranks) {
  std::vector<GpuInfo> gpus;
  if (plan.config.device == DeviceKind::kCuda) {
    absl::StatusOr<std::vector<GpuInfo>> listed = ListGpus(plan.config.gpus);
    if (!listed.ok()) return listed.status();
    gpus = *std::move(listed);
  }
  const absl::StatusOr<std::vector<int64_t>> local = FreeBytesOfRanks(plan.config, gpus);
  if (!local.ok()) return local.status();
  const absl::StatusOr<std::vector<int64_t>> all = GatherFreeBytes(*local, ranks);
  if (!all.ok()) return all.status();
  absl::StatusOr<EnginePlan> fitted = FitToMemory(std::move(plan), checkpoint, *all);
  if (!fitted.ok() || fitted->config.device == DeviceKind::kCpu || !fitted->offloads_experts()) return fitted;
  absl::Status status = CheckPinnedMemory(*fitted, checkpoint, ranks);
  if (!status.ok()) return status;
  return fitted;
}

std::unique_ptr<Heartbeat> StartHeartbeat(const LocalRanks& ranks, absl::Duration rank_timeout) {
  std::vector<Communicator*> communicators;
  for (const auto* group : {&ranks.data, &ranks.control}) {
    for (const std::unique_ptr<Communicator>& communicator : *group) communicators.push_back(communicator.get());
  }
  const absl::Duration period = std::min(absl::Milliseconds(250), rank_timeout / 4);
  return std::make_unique<Heartbeat>(ranks.processes.get(), period,
                                     [communicators = std::move(communicators)](const absl::Status& reason) {
                                       for (Communicator* communicator : communicators) communicator->Abort(reason);
                                     });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel(const EngineConfig& config) {
  return config.load_format == LoadFormat::kDummy ? Checkpoint::OpenConfig(config.model_dir, config.quantize)
                                                  : Checkpoint::Open(config.model_dir, config.quantize);
}

absl::StatusOr<Startup> PrepareRanks(const EngineConfig& requested, const StartupCallback& progress) {
  EngineConfig config = requested;
  const bool on_gpus = config.device == DeviceKind::kCuda;
  if (on_gpus) config.num_local_ranks = static_cast<int>(config.gpus.size());
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenModel(config);
  if (!checkpoint.ok()) return checkpoint.status();
  const DecoderSpec& spec = (*checkpoint)->spec();
  if (on_gpus) {
    // A GPU that is not there is refused before the other processes are waited for.
    absl::Status status = ListGpus(config.gpus).status();
    if (!status.ok()) return status;
  }
  std::shared_ptr<SharedLoops> shared_loops;
  std::function<bool()> meanwhile;
  if (SharesLoops(config)) {
    shared_loops = std::make_shared<SharedLoops>(config.num_local_ranks);
    meanwhile = [shared_loops] { return shared_loops->Help(); };
  }
  progress({.phase = "connect"});
  absl::StatusOr<LocalRanks> ranks = ConnectRanks({.master_addr = config.launch.master_addr,
                                                   .master_port = config.launch.master_port,
                                                   .num_processes = config.launch.num_processes,
                                                   .process_idx = config.launch.process_idx,
                                                   .num_local_ranks = config.num_local_ranks,
                                                   .connect_timeout = config.connect_timeout,
                                                   .collective_timeout = config.collective_timeout,
                                                   .process_timeout = config.rank_timeout,
                                                   .meanwhile = std::move(meanwhile),
                                                   .job = FactsOf(config, **checkpoint)});
  if (!ranks.ok()) return ranks.status();
  std::unique_ptr<Heartbeat> heart = StartHeartbeat(*ranks, config.rank_timeout);
  absl::StatusOr<EnginePlan> plan = MakeEnginePlan(config, spec, ranks->world_size);
  // CPU ranks take what they are asked to, but for what is to be chosen for them.
  if (plan.ok() && (on_gpus || config.expert_places == kAutoExpertPlaces)) {
    plan = FitToDevices(*std::move(plan), **checkpoint, *ranks);
  }
  if (!plan.ok()) return plan.status();
  plan->shared_loops = std::move(shared_loops);
  return Startup{*std::move(checkpoint), *std::move(ranks), std::move(heart), *std::move(plan)};
}

}  // namespace switchyard
