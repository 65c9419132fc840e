#include "server/commands/plan_report.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace switchyard {
namespace {

struct Row {
  const char* key;        // in JSON
  const char* title;      // in the table
  const char* cpu_title;  // null: GPUs alone have it
  int64_t RankMemory::*bytes;
};
constexpr Row kRows[] = {{"experts", "experts", "experts", &RankMemory::experts},
                         {"attention", "attention", "attention", &RankMemory::attention},
                         {"embeddings", "embeddings", "embeddings", &RankMemory::embeddings},
                         {"other_weights", "other weights", "other weights", &RankMemory::other_weights},
                         {"kv_cache", "KV cache", "KV cache", &RankMemory::kv_cache},
                         {"activations", "activations", "activations", &RankMemory::activations},
                         {"scratch", "kernels' scratch", "kernels' scratch (at most)", &RankMemory::scratch},
                         {"graphs", "CUDA graphs (estimate)", nullptr, &RankMemory::graphs},
                         {"nccl", "NCCL (estimate)", nullptr, &RankMemory::nccl},
                         {"driver", "driver (estimate)", nullptr, &RankMemory::driver},
                         {"reserve", "left free (--gpu-reserve)", nullptr, &RankMemory::reserve}};

std::string Line(const std::string& title, const MemoryReport& report, const std::function<std::string(size_t)>& cell) {
  std::string line = absl::StrFormat("%-27s", title);
  for (size_t rank = 0; rank < report.memory.size(); ++rank) absl::StrAppendFormat(&line, "%12s", cell(rank));
  return line + "\n";
}

// "experts nf4, attention nf4, embeddings bfloat16, KV cache fp8".
std::string Formats(const MemoryReport& report) {
  const EngineConfig& config = report.plan.config;
  const char* dense =
      config.device == DeviceKind::kCuda ? Name(ActivationDType(config, *report.spec)) : "as in the checkpoint";
  const auto format = [dense](const QuantizationRecipe& recipe) {
    return recipe.is_dense() ? std::string(dense) : Name(recipe);
  };
  return absl::StrCat("experts ", format(config.quantize.experts), ", attention ", format(config.quantize.attention),
                      ", embeddings ", format(config.quantize.embeddings), ", KV cache ",
                      Name(report.plan.kv_shape.dtype));
}

}  // namespace

int64_t MemoryReport::longest_sequence() const { return std::min(plan.config.max_model_len, tokens_per_rank()); }

int64_t MemoryReport::full_sequences() const {
  return plan.scheduler.num_kv_domains * (plan.kv_shape.num_pages / plan.pages_per_sequence());
}

nlohmann::ordered_json ToJson(const MemoryReport& report) {
  const EnginePlan& plan = report.plan;
  const EngineConfig& config = plan.config;
  nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
  for (size_t rank = 0; rank < report.memory.size(); ++rank) {
    const RankMemory& memory = report.memory[rank];
    nlohmann::ordered_json entry = {{"rank", rank},
                                    {"card", report.cards[rank]},
                                    {"experts_per_layer", plan.placement.num_slots(static_cast<int>(rank))}};
    for (const Row& row : kRows) entry[row.key] = memory.*row.bytes;
    entry["arena"] = memory.arena_bytes();
    entry["total"] = memory.total();
    entry["free"] = report.free_bytes[rank];
    entry["kv_tokens"] = report.tokens_per_rank();
    ranks.push_back(std::move(entry));
  }
  nlohmann::ordered_json object;
  object["model_type"] = report.spec->model_type;
  object["device"] = config.device == DeviceKind::kCuda ? "cuda" : "cpu";
  object["dtype"] = Name(ActivationDType(config, *report.spec));
  object["quantize"] = {{"experts", Name(config.quantize.experts)},
                        {"attention", Name(config.quantize.attention)},
                        {"embeddings", Name(config.quantize.embeddings)}};
  object["attention"] = Name(config.attention);
  object["max_model_len"] = config.max_model_len;
  object["max_batch_tokens"] = config.max_batch_tokens;
  object["fits"] = report.fits.ok();
  if (!report.fits.ok()) object["message"] = std::string(report.fits.message());
  if (!report.command.empty()) object["command"] = report.command;
  object["warnings"] = report.warnings;
  object["ranks"] = std::move(ranks);
  object["kv_cache"] = {{"dtype", Name(plan.kv_shape.dtype)},
                        {"pages_per_rank", plan.kv_shape.num_pages},
                        {"page_size", config.page_size},
                        {"tokens", report.tokens()},
                        {"longest_sequence", report.longest_sequence()},
                        {"sequences_of_max_model_len", report.full_sequences()}};
  return object;
}

std::string ToTable(const MemoryReport& report) {
  const auto gib = [](int64_t bytes) { return absl::StrFormat("%.2f", static_cast<double>(bytes) / (1 << 30)); };
  const EnginePlan& plan = report.plan;
  const EngineConfig& config = plan.config;
  const DecoderSpec& spec = *report.spec;
  const bool on_gpus = config.device == DeviceKind::kCuda;
  std::string text = absl::StrCat(config.model_dir, ": ", spec.model_type, ", ", spec.num_layers, " layers, ",
                                  spec.num_experts, " experts (top ", spec.experts_per_token, ")\n", Formats(report),
                                  "\n--attention ", Name(config.attention), " --max-model-len ", config.max_model_len,
                                  " --max-batch-tokens ", config.max_batch_tokens, "\n\n");
  text += Line("GiB", report, [](size_t rank) { return absl::StrCat("rank ", rank); });
  text += Line("", report, [&](size_t rank) { return report.cards[rank]; });
  text += Line("experts of each layer", report,
               [&](size_t rank) { return absl::StrCat(plan.placement.num_slots(static_cast<int>(rank))); });
  for (const Row& row : kRows) {
    const char* title = on_gpus ? row.title : row.cpu_title;
    if (title == nullptr) continue;
    text += Line(title, report, [&](size_t rank) { return gib(report.memory[rank].*row.bytes); });
  }
  text += Line("needed", report, [&](size_t rank) { return gib(report.memory[rank].total()); });
  text += Line("free now", report, [&](size_t rank) { return gib(report.free_bytes[rank]); });
  text += Line(report.fits.ok() ? "unused" : "unused (negative: lacking)", report,
               [&](size_t rank) { return gib(report.free_bytes[rank] - report.memory[rank].total()); });
  text += Line("tokens of KV cache", report, [&](size_t) { return absl::StrCat(report.tokens_per_rank()); });
  absl::StrAppend(
      &text, "\nKV cache: ", plan.kv_shape.num_pages, " pages of ", config.page_size, " tokens per rank, ",
      report.tokens(), " tokens in all",
      plan.heads_are_split() && plan.scheduler.num_kv_domains == 1 ? ", of which each rank has its heads" : "",
      "\nlongest sequence: ", report.longest_sequence(), " tokens; at that length ", report.full_sequences(),
      report.full_sequences() == 1 ? " sequence" : " sequences", " at the same time\n");
  for (const std::string& warning : report.warnings) absl::StrAppend(&text, "note: ", warning, "\n");
  if (!report.command.empty()) absl::StrAppend(&text, "\n", report.command, "\n");
  return text;
}

}  // namespace switchyard
