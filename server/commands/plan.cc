#include "server/commands/plan.h"

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/load_warnings.h"
#include "engine/memory_fit.h"
#include "engine/memory_fitter.h"
#include "server/commands/plan_report.h"
#include "server/commands/startup.h"
#include "server/settings/serve_command.h"

namespace switchyard {
namespace {

bool HasWeights(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return false;
}

// With its weights, if they are there: the files then are checked as well.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const EngineConfig& config) {
  if (config.load_format == LoadFormat::kDummy || !HasWeights(config.model_dir)) {
    return Checkpoint::OpenConfig(config.model_dir, config.quantize);
  }
  return Checkpoint::Open(config.model_dir, config.quantize);
}

std::string CardOf(const EngineConfig& config, size_t local_rank) {
  if (config.device == DeviceKind::kCpu) return "CPU";
  if (!config.gpu_memory_bytes.empty()) return FormatBytes(config.gpu_memory_bytes[local_rank]);
  return absl::StrCat("GPU ", config.gpus[local_rank]);
}

// What each rank of the job may take; other processes are taken to have GPUs like this one's.
absl::StatusOr<std::vector<int64_t>> FreeBytesOfJob(const EngineConfig& config) {
  std::vector<GpuInfo> gpus;
  if (config.device == DeviceKind::kCuda && config.gpu_memory_bytes.empty()) {
    absl::StatusOr<std::vector<GpuInfo>> listed = ListGpus();
    if (!listed.ok()) {
      return absl::Status(listed.status().code(),
                          absl::StrCat(listed.status().message(),
                                       "; to plan for GPUs that are elsewhere, give their sizes: --gpus 16GiB,16GiB"));
    }
    gpus = *std::move(listed);
  }
  const absl::StatusOr<std::vector<int64_t>> local = FreeBytesOfRanks(config, gpus);
  if (!local.ok()) return local.status();
  std::vector<int64_t> all;
  for (int process = 0; process < config.launch.num_processes; ++process) {
    all.insert(all.end(), local->begin(), local->end());
  }
  return all;
}

absl::StatusOr<MemoryReport> MakeReport(const EngineConfig& config, const Checkpoint& checkpoint,
                                        const std::vector<int64_t>& free_bytes) {
  const int world_size = static_cast<int>(free_bytes.size());
  absl::StatusOr<EnginePlan> plan = MakeEnginePlan(config, checkpoint.spec(), world_size);
  if (plan.ok()) plan = MemoryFitter(checkpoint, free_bytes).PlaceExperts(*std::move(plan));
  if (!plan.ok()) return plan.status();
  MemoryReport report = {.plan = *std::move(plan), .spec = &checkpoint.spec(), .free_bytes = free_bytes};
  absl::StatusOr<EnginePlan> fitted = FitToMemory(report.plan, checkpoint, free_bytes);
  report.fits = fitted.status();
  if (!fitted.ok() && !absl::IsFailedPrecondition(fitted.status())) return fitted.status();
  if (fitted.ok()) report.plan = *std::move(fitted);
  report.warnings = LoadWarnings(report.plan, checkpoint);
  for (int rank = 0; rank < world_size; ++rank) {
    absl::StatusOr<RankMemory> memory = PlanRankMemory(report.plan, checkpoint, rank);
    if (!memory.ok()) return memory.status();
    report.memory.push_back(*memory);
    report.cards.push_back(CardOf(config, static_cast<size_t>(rank % config.num_local_ranks)));
  }
  return report;
}

absl::Status Plan(const Settings& settings) {
  EngineConfig config = settings.engine;
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenCheckpoint(config);
  if (!checkpoint.ok()) return checkpoint.status();
  const absl::StatusOr<std::vector<int64_t>> free_bytes = FreeBytesOfJob(config);
  if (!free_bytes.ok()) return free_bytes.status();
  std::string command;
  if (settings.plan.fit) {
    absl::StatusOr<FittingChoice> choice =
        ChooseFittingFlags(config, **checkpoint, static_cast<int>(free_bytes->size()), *free_bytes);
    if (choice.ok()) {
      config = std::move(choice->config);
      if (choice->checkpoint != nullptr) *checkpoint = std::move(choice->checkpoint);
      EngineConfig served = config;
      served.model_dir = (*checkpoint)->directory();  // a config.json alone can be planned for, not served
      command = ServeCommandOf(served);
    } else if (!absl::IsFailedPrecondition(choice.status())) {
      return choice.status();
    }
  }
  absl::StatusOr<MemoryReport> report = MakeReport(config, **checkpoint, *free_bytes);
  if (!report.ok()) return report.status();
  report->command = std::move(command);
  std::cout << (settings.plan.json ? ToJson(*report).dump(2) + "\n" : ToTable(*report)) << std::flush;
  return report->fits;
}

}  // namespace

int RunPlan(const Settings& settings) { return Report(Plan(settings)); }

}  // namespace switchyard
