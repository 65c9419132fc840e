#include "server/commands/plan.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/memory_plan.h"
#include "server/commands/startup.h"

namespace switchyard {
namespace {

struct Row {
  const char* key;    // in JSON
  const char* title;  // in the table
  int64_t RankMemory::*bytes;
};
constexpr Row kRows[] = {{"experts", "experts", &RankMemory::experts},
                         {"attention", "attention", &RankMemory::attention},
                         {"embeddings", "embeddings", &RankMemory::embeddings},
                         {"other_weights", "other weights", &RankMemory::other_weights},
                         {"kv_cache", "KV cache", &RankMemory::kv_cache},
                         {"activations", "activations", &RankMemory::activations},
                         {"scratch", "kernels' scratch", &RankMemory::scratch},
                         {"graphs", "CUDA graphs (estimate)", &RankMemory::graphs},
                         {"nccl", "NCCL (estimate)", &RankMemory::nccl},
                         {"driver", "driver (estimate)", &RankMemory::driver},
                         {"reserve", "left free (--gpu-reserve)", &RankMemory::reserve}};

// A plan and what it means for each rank of the job.
struct MemoryReport {
  EnginePlan plan;
  const DecoderSpec* spec = nullptr;
  std::vector<RankMemory> memory;   // [ranks]
  std::vector<int64_t> free_bytes;  // [ranks]
  std::vector<std::string> cards;   // [ranks]: "GPU 0", "16GiB"
  absl::Status fits;

  int64_t tokens_per_domain() const { return plan.kv_shape.num_pages * plan.config.page_size; }
  int64_t longest_sequence() const { return std::min(plan.config.max_model_len, tokens_per_domain()); }
  // Sequences of --max-model-len at the same time, on all ranks together.
  int64_t full_sequences() const {
    return plan.scheduler.num_kv_domains * (plan.kv_shape.num_pages / plan.pages_per_sequence());
  }
};

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
    return Checkpoint::OpenConfig(config.model_dir);
  }
  return Checkpoint::Open(config.model_dir);
}

absl::StatusOr<MemoryReport> MakeReport(const EngineConfig& config, const Checkpoint& checkpoint) {
  std::vector<GpuInfo> gpus;
  if (config.gpu_memory_bytes.empty()) {
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
  const int world_size = config.num_local_ranks * config.launch.num_processes;
  absl::StatusOr<EnginePlan> plan = MakeEnginePlan(config, checkpoint.spec(), world_size);
  if (!plan.ok()) return plan.status();

  MemoryReport report = {.plan = *std::move(plan), .spec = &checkpoint.spec()};
  for (int rank = 0; rank < world_size; ++rank) {
    // Other processes are taken to have GPUs like this one's.
    const size_t card = static_cast<size_t>(rank % config.num_local_ranks);
    report.free_bytes.push_back((*local)[card]);
    report.cards.push_back(config.gpu_memory_bytes.empty() ? absl::StrCat("GPU ", config.gpus[card])
                                                           : FormatBytes(config.gpu_memory_bytes[card]));
  }
  absl::StatusOr<EnginePlan> fitted = FitToMemory(report.plan, checkpoint, report.free_bytes);
  report.fits = fitted.status();
  if (!fitted.ok() && !absl::IsFailedPrecondition(fitted.status())) return fitted.status();
  if (fitted.ok()) report.plan = *std::move(fitted);
  for (int rank = 0; rank < world_size; ++rank) {
    absl::StatusOr<RankMemory> memory = PlanRankMemory(report.plan, checkpoint, rank);
    if (!memory.ok()) return memory.status();
    report.memory.push_back(*memory);
  }
  return report;
}

nlohmann::ordered_json ToJson(const MemoryReport& report) {
  const EnginePlan& plan = report.plan;
  nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
  for (size_t rank = 0; rank < report.memory.size(); ++rank) {
    const RankMemory& memory = report.memory[rank];
    nlohmann::ordered_json entry = {{"rank", rank}, {"card", report.cards[rank]}};
    for (const Row& row : kRows) entry[row.key] = memory.*row.bytes;
    entry["arena"] = memory.arena_bytes();
    entry["total"] = memory.total();
    entry["free"] = report.free_bytes[rank];
    ranks.push_back(std::move(entry));
  }
  nlohmann::ordered_json object;
  object["model_type"] = report.spec->model_type;
  object["dtype"] = Name(ActivationDType(plan.config, *report.spec));
  object["attention"] = Name(plan.config.attention);
  object["fits"] = report.fits.ok();
  if (!report.fits.ok()) object["message"] = std::string(report.fits.message());
  object["ranks"] = std::move(ranks);
  object["kv_cache"] = {{"dtype", Name(plan.kv_shape.dtype)},
                        {"pages_per_rank", plan.kv_shape.num_pages},
                        {"page_size", plan.config.page_size},
                        {"tokens", plan.scheduler.num_kv_domains * report.tokens_per_domain()},
                        {"longest_sequence", report.longest_sequence()},
                        {"sequences_of_max_model_len", report.full_sequences()}};
  return object;
}

std::string Line(const std::string& title, const MemoryReport& report, const std::function<std::string(size_t)>& cell) {
  std::string line = absl::StrFormat("%-27s", title);
  for (size_t rank = 0; rank < report.memory.size(); ++rank) absl::StrAppendFormat(&line, "%12s", cell(rank));
  return line + "\n";
}

std::string ToTable(const MemoryReport& report) {
  const auto gib = [](int64_t bytes) { return absl::StrFormat("%.2f", static_cast<double>(bytes) / (1 << 30)); };
  const EnginePlan& plan = report.plan;
  const DecoderSpec& spec = *report.spec;
  std::string text =
      absl::StrCat(plan.config.model_dir, ": ", spec.model_type, ", ", spec.num_layers, " layers, ", spec.num_experts,
                   " experts (top ", spec.experts_per_token, "), ", Name(plan.kv_shape.dtype), "; attention ",
                   Name(plan.config.attention), ", --max-batch-tokens ", plan.config.max_batch_tokens, "\n\n");
  text += Line("GiB", report, [](size_t rank) { return absl::StrCat("rank ", rank); });
  text += Line("", report, [&](size_t rank) { return report.cards[rank]; });
  for (const Row& row : kRows) {
    text += Line(row.title, report, [&](size_t rank) { return gib(report.memory[rank].*row.bytes); });
  }
  text += Line("needed", report, [&](size_t rank) { return gib(report.memory[rank].total()); });
  text += Line("free now", report, [&](size_t rank) { return gib(report.free_bytes[rank]); });
  text += Line(report.fits.ok() ? "unused" : "unused (negative: lacking)", report,
               [&](size_t rank) { return gib(report.free_bytes[rank] - report.memory[rank].total()); });
  const int64_t domains = plan.scheduler.num_kv_domains;
  absl::StrAppend(&text, "\nKV cache: ", plan.kv_shape.num_pages, " pages of ", plan.config.page_size,
                  " tokens per rank, ", domains * report.tokens_per_domain(), " tokens",
                  domains > 1 ? " on all ranks together" : "", "\nlongest sequence: ", report.longest_sequence(),
                  " tokens; at that length ", report.full_sequences(),
                  report.full_sequences() == 1 ? " sequence" : " sequences", " at the same time\n");
  return text;
}

}  // namespace

int RunPlan(const Settings& settings) {
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenCheckpoint(settings.engine);
  if (!checkpoint.ok()) return Report(checkpoint.status());
  const absl::StatusOr<MemoryReport> report = MakeReport(settings.engine, **checkpoint);
  if (!report.ok()) return Report(report.status());
  std::cout << (settings.plan.json ? ToJson(*report).dump(2) + "\n" : ToTable(*report)) << std::flush;
  return Report(report->fits);
}

}  // namespace switchyard
