#include "engine/memory_advice.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace switchyard {
namespace {

constexpr char kLengthFlag[] = "--max-model-len";

std::string GiB(int64_t bytes) { return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / (1 << 30)); }

// Where the pages of the plan are what a flag or, on the CPU, a default says, and not what there is room for.
bool HasFixedCache(const EngineConfig& config) { return config.kv_cache_bytes > 0; }

// Flags that fit together where none does alone: those that cost only speed first, one after the other until it fits,
// then the length. Empty: it fits as it is.
std::optional<std::string> FlagsTogether(const MemoryFitter& fitter, EngineConfig config, int world_size) {
  std::vector<std::string> flags;
  const auto fits = [&] { return fitter.Fits(config, world_size); };
  const auto joined = [&flags] { return absl::StrJoin(flags, " "); };
  if (fits()) return joined();
  if (HasFixedCache(config) && config.device == DeviceKind::kCuda) {
    config.kv_cache_bytes = 0;
    flags.push_back("--kv-cache 0");
    if (fits()) return joined();
  }
  if (CanSplitHeads(config, fitter.spec(), world_size)) {
    config.attention = AttentionParallelism::kTensorParallel;
    flags.push_back("--attention tensor-parallel");
    if (fits()) return joined();
  }
  if (config.max_batch_tokens > kSmallBatchTokens) {
    config.max_batch_tokens = kSmallBatchTokens;
    flags.push_back(absl::StrCat("--max-batch-tokens ", kSmallBatchTokens));
    if (fits()) return joined();
  }
  const std::optional<int64_t> length = fitter.LongestLength(config, world_size);
  if (!length.has_value()) return std::nullopt;
  flags.push_back(absl::StrCat(kLengthFlag, " ", *length));
  return joined();
}

// Changes of one flag each with which the plan would fit, in the same order.
std::vector<std::string> SingleFlags(const MemoryFitter& fitter, const EnginePlan& plan) {
  constexpr int64_t kTokenStep = 16;
  constexpr int64_t kLeastBatchTokens = 64;  // with less, prompts would take forever
  constexpr int64_t kMiB = int64_t{1} << 20;
  const int world_size = plan.world_size;
  const bool has_fixed_cache = HasFixedCache(plan.config);
  std::vector<std::string> flags;
  EngineConfig config = plan.config;
  if (has_fixed_cache && config.device == DeviceKind::kCuda) {
    config.kv_cache_bytes = 0;
    if (fitter.Fits(config, world_size)) flags.push_back("--kv-cache 0 (takes what there is room for)");
  } else if (has_fixed_cache) {
    const std::optional<int64_t> bytes = LargestThatFits(config.kv_cache_bytes, kMiB, [&](int64_t value) {
      config.kv_cache_bytes = value;
      return fitter.Fits(config, world_size);
    });
    if (bytes.has_value()) flags.push_back(absl::StrCat("--kv-cache ", *bytes / kMiB, "MiB"));
  }
  config = plan.config;
  const std::optional<int64_t> tokens = LargestThatFits(config.max_batch_tokens - 1, kTokenStep, [&](int64_t value) {
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
  // Within a cache of a fixed size, a shorter sequence saves nothing.
  if (!has_fixed_cache) {
    const std::optional<int64_t> length = fitter.LongestLength(plan.config, world_size);
    if (length.has_value()) flags.push_back(absl::StrCat(kLengthFlag, " ", *length));
  }
  return flags;
}

// The least loss of precision with which the whole --max-model-len fits, with other flags if need be.
std::optional<std::string> PrecisionFlags(const MemoryFitter& fitter, const EngineConfig& config, int world_size) {
  std::optional<std::string> shorter;  // fits with a shorter context alone
  for (const LowerPrecision& lower : LowerPrecisions(config, fitter.checkpoint())) {
    const Checkpoint& checkpoint = lower.checkpoint == nullptr ? fitter.checkpoint() : *lower.checkpoint;
    const MemoryFitter lower_fitter(checkpoint, fitter.free_bytes());
    const std::optional<std::string> others = FlagsTogether(lower_fitter, lower.config, world_size);
    if (!others.has_value()) continue;
    const std::string flags = absl::StrCat(lower.flags, others->empty() ? "" : " ", *others);
    if (!absl::StrContains(*others, kLengthFlag)) return flags;
    if (!shorter.has_value()) shorter = flags;
  }
  return shorter;
}

// Experts in host memory, or in files, where nothing that costs less keeps the whole --max-model-len.
std::optional<std::string> OffloadFlags(const MemoryFitter& fitter, EngineConfig config, int world_size) {
  if (config.expert_places.has_value()) return std::nullopt;
  config.expert_places = kAutoExpertPlaces;
  const auto keeps_context = [](const std::optional<std::string>& flags) {
    return flags.has_value() && !absl::StrContains(*flags, kLengthFlag);
  };
  std::optional<std::string> others = FlagsTogether(fitter, config, world_size);
  if (!keeps_context(others)) others = PrecisionFlags(fitter, config, world_size);
  if (!keeps_context(others)) return std::nullopt;
  return absl::StrCat("--offload-experts auto", others->empty() ? "" : " ", *others);
}

std::vector<std::string> Remedies(const MemoryFitter& fitter, const EnginePlan& plan) {
  std::vector<std::string> remedies = SingleFlags(fitter, plan);
  const int world_size = plan.world_size;
  const auto add = [&remedies](const std::optional<std::string>& flags) {
    if (flags.has_value() && !flags->empty()) remedies.push_back(*flags);
  };
  if (remedies.empty()) add(FlagsTogether(fitter, plan.config, world_size));
  const bool keeps_precision = !remedies.empty();
  const auto keeps_context = [&remedies] {
    return std::any_of(remedies.begin(), remedies.end(),
                       [](const std::string& flags) { return !absl::StrContains(flags, kLengthFlag); });
  };
  if (!keeps_context()) add(PrecisionFlags(fitter, plan.config, world_size));
  if (!keeps_context()) add(OffloadFlags(fitter, plan.config, world_size));
  // Ranks of one host share its memory.
  if (plan.config.device == DeviceKind::kCpu) return remedies;
  // Ranks beyond one per expert would have none.
  const int most_ranks = static_cast<int>(std::min<int64_t>(64, fitter.spec().num_experts));
  for (int ranks = world_size + 1; ranks <= most_ranks; ++ranks) {
    if (!fitter.Fits(plan.config, ranks)) continue;
    remedies.push_back(absl::StrCat(ranks, " such GPUs"));
    return remedies;
  }
  const auto add_more_gpus = [&](const auto& flags_of) {
    for (int ranks = world_size + 1; ranks <= most_ranks; ++ranks) {
      const std::optional<std::string> flags = flags_of(fitter, plan.config, ranks);
      if (!flags.has_value()) continue;
      remedies.push_back(absl::StrCat(ranks, " such GPUs and ", *flags));
      return;
    }
  };
  if (!keeps_precision) add_more_gpus(FlagsTogether);
  if (remedies.empty()) add_more_gpus(PrecisionFlags);
  return remedies;
}

}  // namespace

bool CanSplitHeads(const EngineConfig& config, const DecoderSpec& spec, int world_size) {
  return config.attention == AttentionParallelism::kReplicated && world_size > 1 && spec.num_heads % world_size == 0 &&
         spec.num_kv_heads % world_size == 0;
}

std::vector<LowerPrecision> LowerPrecisions(const EngineConfig& config, const Checkpoint& checkpoint) {
  std::vector<LowerPrecision> lower;
  const auto with_small_cache = [](EngineConfig changed) {
    changed.kv_dtype = DType::kFloat8E4M3;
    return changed;
  };
  const bool has_wide_cache = !config.kv_dtype.has_value();
  if (has_wide_cache) lower.push_back({with_small_cache(config), "--kv-dtype fp8", nullptr});
  if (config.quantize.any()) return lower;
  for (const char* format : {"int8", "nf4"}) {
    EngineConfig quantized = config;
    quantized.quantize.experts = *ParseQuantizationRecipe(format);
    quantized.quantize.attention = quantized.quantize.experts;
    const std::string flags = absl::StrCat("--quantize ", format);
    for (const bool small_cache : {false, true}) {
      if (small_cache && !has_wide_cache) continue;
      absl::StatusOr<std::unique_ptr<Checkpoint>> opened =
          Checkpoint::OpenConfig(checkpoint.directory(), quantized.quantize);
      if (!opened.ok()) continue;  // quantised already
      lower.push_back({small_cache ? with_small_cache(quantized) : quantized,
                       absl::StrCat(flags, small_cache ? " --kv-dtype fp8" : ""), *std::move(opened)});
    }
  }
  return lower;
}

absl::Status RefuseForMemory(const MemoryFitter& fitter, const EnginePlan& plan, const MemoryShortage& shortage) {
  const bool on_gpus = plan.config.device == DeviceKind::kCuda;
  const std::vector<int>& gpus = plan.config.gpus;
  const bool all_local = on_gpus && static_cast<int>(gpus.size()) == plan.world_size;
  const std::string gpu =
      all_local ? absl::StrCat(" (GPU ", gpus[static_cast<size_t>(shortage.rank)], ")") : std::string();
  const RankMemory& need = shortage.need;
  const std::pair<absl::string_view, int64_t> parts[] = {
      {"experts", need.experts},         {"attention", need.attention},
      {"embeddings", need.embeddings},   {"KV cache", need.kv_cache},
      {"activations", need.activations}, {"scratch", need.scratch},
      {"CUDA graphs", need.graphs},      {"NCCL", need.nccl},
      {"driver", need.driver},           {"--gpu-reserve", need.reserve}};
  std::vector<std::string> parts_text;
  for (const auto& [name, bytes] : parts) {
    if (bytes == 0) continue;
    parts_text.push_back(absl::StrFormat("%s %.2f", name, static_cast<double>(bytes) / (1 << 30)));
  }
  const std::vector<std::string> remedies = Remedies(fitter, plan);
  return absl::FailedPreconditionError(absl::StrCat(
      "rank ", shortage.rank, gpu, ": needs ", GiB(need.total()), " (", absl::StrJoin(parts_text, ", "), "), has ",
      GiB(shortage.have), " free",
      HasFixedCache(plan.config)
          ? ""
          : absl::StrCat("; the KV cache is that of one sequence of --max-model-len ", plan.config.max_model_len),
      !remedies.empty() ? absl::StrCat("; it would fit with ", absl::StrJoin(remedies, ", or "))
      : on_gpus         ? "; no number of such GPUs holds this model, whatever the flags"
                        : "; no flags make it smaller"));
}

}  // namespace switchyard
