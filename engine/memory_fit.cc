// FitToMemory: how many KV pages there can be, and what to advise where there can be none.
#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/memory_plan.h"
#include "kernels/cuda/memory_layout.h"

namespace switchyard {
namespace {

std::string GiB(int64_t bytes) { return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / (1 << 30)); }

// The rank that lacks the most.
struct Shortage {
  int rank = 0;
  RankMemory need;
  int64_t have = 0;
  int64_t lacking() const { return need.total() - have; }
};

// Pages that `bytes` hold: one pair of tensors per layer, each aligned by itself.
int64_t PagesWithin(int64_t bytes, const KvCacheShape& shape) {
  const int64_t tensors = 2 * shape.num_layers;
  const int64_t alignment = static_cast<int64_t>(cuda::kAlignment);
  const int64_t bytes_per_tensor = std::max<int64_t>(bytes, 0) / tensors / alignment * alignment;
  return bytes_per_tensor / (shape.BytesPerPage() / tensors);
}

// Plans for one checkpoint: the one that was asked for, and others to advise.
class Fitter {
 public:
  Fitter(const Checkpoint& checkpoint, std::span<const int64_t> free_bytes)
      : checkpoint_(checkpoint), free_bytes_(free_bytes) {}

  // The pages that every rank has room for beside all else, negative room being none.
  absl::StatusOr<int64_t> PagesOf(const EnginePlan& plan) const {
    int64_t pages = plan.max_useful_pages();
    for (int rank = 0; rank < plan.world_size; ++rank) {
      const absl::StatusOr<RankMemory> need = PlanRankMemory(plan, checkpoint_, rank);
      if (!need.ok()) return need.status();
      const int64_t room = FreeBytes(plan, rank) - (need->total() - need->kv_cache);
      pages = std::min(pages, PagesWithin(room, plan.kv_shape));
    }
    return pages;
  }

  // None: every rank has what it needs.
  absl::StatusOr<std::optional<Shortage>> FindShortage(const EnginePlan& plan) const {
    std::optional<Shortage> worst;
    for (int rank = 0; rank < plan.world_size; ++rank) {
      const absl::StatusOr<RankMemory> need = PlanRankMemory(plan, checkpoint_, rank);
      if (!need.ok()) return need.status();
      const Shortage shortage = {.rank = rank, .need = *need, .have = FreeBytes(plan, rank)};
      if (shortage.lacking() <= 0) continue;
      if (!worst.has_value() || shortage.lacking() > worst->lacking()) worst = shortage;
    }
    return worst;
  }

  // What the rank with the most needs, where every rank has what it needs.
  std::optional<int64_t> LargestTotal(const EngineConfig& config, int world_size) const {
    const absl::StatusOr<EnginePlan> plan = MakeEnginePlan(config, checkpoint_.spec(), world_size);
    if (!plan.ok()) return std::nullopt;
    int64_t largest = 0;
    for (int rank = 0; rank < world_size; ++rank) {
      const absl::StatusOr<RankMemory> need = PlanRankMemory(*plan, checkpoint_, rank);
      if (!need.ok() || need->total() > FreeBytes(*plan, rank)) return std::nullopt;
      largest = std::max(largest, need->total());
    }
    return largest;
  }
  bool Fits(const EngineConfig& config, int world_size) const { return LargestTotal(config, world_size).has_value(); }

  const DecoderSpec& spec() const { return checkpoint_.spec(); }

 private:
  // More ranks than there are GPUs are imagined on GPUs like the smallest of these.
  int64_t FreeBytes(const EnginePlan& plan, int rank) const {
    if (plan.world_size == static_cast<int>(free_bytes_.size())) return free_bytes_[static_cast<size_t>(rank)];
    return *std::min_element(free_bytes_.begin(), free_bytes_.end());
  }

  const Checkpoint& checkpoint_;
  const std::span<const int64_t> free_bytes_;  // [ranks]
};

// The largest multiple of `step` in [step, limit) with which `fits` holds; it holds for all below, too.
std::optional<int64_t> Largest(int64_t limit, int64_t step, const std::function<bool(int64_t)>& fits) {
  int64_t low = 0;  // fits, or 0
  int64_t high = (limit + step - 1) / step;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle * step) ? low : high) = middle;
  }
  return low > 0 ? std::optional(low * step) : std::nullopt;
}

// The longest --max-model-len below the present one with which `config` fits.
std::optional<int64_t> LongestLength(const Fitter& fitter, EngineConfig config, int world_size) {
  return Largest(config.max_model_len, config.page_size, [&](int64_t length) {
    config.max_model_len = length;
    return fitter.Fits(config, world_size);
  });
}

bool CanSplitHeads(const EngineConfig& config, const DecoderSpec& spec, int world_size) {
  return config.attention == AttentionParallelism::kReplicated && world_size > 1 && spec.num_heads % world_size == 0 &&
         spec.num_kv_heads % world_size == 0;
}

// Flags that fit together where none does alone: those that cost only speed first, then the length.
std::optional<std::string> FlagsTogether(const Fitter& fitter, EngineConfig config, int world_size) {
  constexpr int64_t kSmallBatch = 256;
  std::vector<std::string> flags;
  if (config.kv_cache_bytes > 0) {
    config.kv_cache_bytes = 0;
    flags.push_back("--kv-cache 0");
  }
  if (CanSplitHeads(config, fitter.spec(), world_size)) {
    config.attention = AttentionParallelism::kTensorParallel;
    flags.push_back("--attention tensor-parallel");
  }
  if (config.max_batch_tokens > kSmallBatch) {
    config.max_batch_tokens = kSmallBatch;
    flags.push_back(absl::StrCat("--max-batch-tokens ", kSmallBatch));
  }
  if (!fitter.Fits(config, world_size)) {
    const std::optional<int64_t> length = LongestLength(fitter, config, world_size);
    if (!length.has_value()) return std::nullopt;
    flags.push_back(absl::StrCat("--max-model-len ", *length));
  }
  return absl::StrJoin(flags, " ");
}

// Changes of one flag each with which the plan would fit.
std::vector<std::string> SingleFlags(const Fitter& fitter, const EnginePlan& plan) {
  constexpr int64_t kTokenStep = 16;
  constexpr int64_t kLeastBatchTokens = 64;  // with less, prompts would take forever
  const int world_size = plan.world_size;
  std::vector<std::string> flags;
  EngineConfig config = plan.config;
  config.kv_cache_bytes = 0;
  if (plan.config.kv_cache_bytes > 0 && fitter.Fits(config, world_size)) {
    flags.push_back("--kv-cache 0 (takes what there is room for)");
  }
  // Within a --kv-cache of its own, a shorter sequence saves nothing.
  if (plan.config.kv_cache_bytes == 0) {
    const std::optional<int64_t> length = LongestLength(fitter, plan.config, world_size);
    if (length.has_value()) flags.push_back(absl::StrCat("--max-model-len ", *length));
  }
  config = plan.config;
  const std::optional<int64_t> tokens = Largest(plan.config.max_batch_tokens, kTokenStep, [&](int64_t value) {
    config.max_batch_tokens = value;
    return fitter.Fits(config, world_size);
  });
  if (tokens.value_or(0) >= kLeastBatchTokens) flags.push_back(absl::StrCat("--max-batch-tokens ", *tokens));
  config = plan.config;
  if (CanSplitHeads(config, fitter.spec(), world_size)) {
    config.attention = AttentionParallelism::kTensorParallel;
    const std::optional<int64_t> total = fitter.LargestTotal(config, world_size);
    if (total.has_value()) {
      flags.push_back(absl::StrCat("--attention tensor-parallel (needs ", GiB(*total), ")"));
    }
  }
  return flags;
}

std::vector<std::string> Remedies(const Fitter& fitter, const EnginePlan& plan) {
  std::vector<std::string> remedies = SingleFlags(fitter, plan);
  if (remedies.empty()) {
    const std::optional<std::string> flags = FlagsTogether(fitter, plan.config, plan.world_size);
    if (flags.has_value()) remedies.push_back(*flags);
  }
  // Ranks beyond one per expert would have none.
  const int most_ranks = static_cast<int>(std::min<int64_t>(64, fitter.spec().num_experts));
  for (int ranks = plan.world_size + 1; ranks <= most_ranks; ++ranks) {
    if (!fitter.Fits(plan.config, ranks)) continue;
    remedies.push_back(absl::StrCat(ranks, " such GPUs"));
    return remedies;
  }
  if (!remedies.empty()) return remedies;
  for (int ranks = plan.world_size + 1; ranks <= most_ranks; ++ranks) {
    const std::optional<std::string> flags = FlagsTogether(fitter, plan.config, ranks);
    if (!flags.has_value()) continue;
    remedies.push_back(absl::StrCat(ranks, " such GPUs and ", *flags));
    return remedies;
  }
  return remedies;
}

absl::Status Refuse(const Fitter& fitter, const EnginePlan& plan, const Shortage& shortage) {
  const std::vector<int>& gpus = plan.config.gpus;
  const bool all_local = static_cast<int>(gpus.size()) == plan.world_size;
  const std::string gpu =
      all_local ? absl::StrCat(" (GPU ", gpus[static_cast<size_t>(shortage.rank)], ")") : std::string();
  const RankMemory& need = shortage.need;
  const std::pair<absl::string_view, int64_t> parts[] = {
      {"experts", need.experts},         {"attention", need.attention},
      {"embeddings", need.embeddings},   {"KV cache", need.kv_cache},
      {"activations", need.activations}, {"scratch", need.scratch},
      {"CUDA graphs", need.graphs},      {"NCCL", need.nccl},
      {"driver", need.driver},           {"--gpu-reserve", need.reserve}};
  const std::string parts_text =
      absl::StrJoin(parts, ", ", [](std::string* out, const std::pair<absl::string_view, int64_t>& part) {
        absl::StrAppendFormat(out, "%s %.2f", part.first, static_cast<double>(part.second) / (1 << 30));
      });
  const std::vector<std::string> remedies = Remedies(fitter, plan);
  return absl::FailedPreconditionError(absl::StrCat(
      "rank ", shortage.rank, gpu, ": needs ", GiB(need.total()), " (", parts_text, "), has ", GiB(shortage.have),
      " free",
      plan.config.kv_cache_bytes > 0
          ? ""
          : absl::StrCat("; the KV cache is that of one sequence of --max-model-len ", plan.config.max_model_len),
      remedies.empty() ? "; no number of such GPUs holds this model, whatever the flags"
                       : absl::StrCat("; it would fit with ", absl::StrJoin(remedies, ", or "))));
}

}  // namespace

absl::StatusOr<EnginePlan> FitToMemory(EnginePlan plan, const Checkpoint& checkpoint,
                                       std::span<const int64_t> free_bytes) {
  CHECK_EQ(static_cast<int>(free_bytes.size()), plan.world_size);
  const Fitter fitter(checkpoint, free_bytes);
  const absl::StatusOr<std::optional<Shortage>> shortage = fitter.FindShortage(plan);
  if (!shortage.ok()) return shortage.status();
  if (shortage->has_value()) return Refuse(fitter, plan, **shortage);
  if (plan.config.kv_cache_bytes > 0) return plan;
  const absl::StatusOr<int64_t> pages = fitter.PagesOf(plan);
  if (!pages.ok()) return pages.status();
  CHECK_GE(*pages, plan.pages_per_sequence());
  plan.SetPages(*pages);
  return plan;
}

}  // namespace switchyard
