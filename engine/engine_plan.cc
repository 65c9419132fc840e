#include "engine/engine_plan.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/config_check.h"
#include "engine/version.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

constexpr int64_t kDefaultKvBytesPerRank = int64_t{1} << 30;

int64_t PhysicalMemoryBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Pages for every place at full length, if that is affordable; for one sequence at full length in any case. What a GPU
// can afford is not known here.
absl::StatusOr<int64_t> ChoosePages(const EngineConfig& config, const KvCacheShape& shape, int num_domains) {
  const int64_t bytes_per_page = shape.BytesPerPage();
  const int64_t pages_per_sequence = CeilDiv(config.max_model_len, config.page_size);
  if (config.kv_cache_bytes > 0) {
    const int64_t pages = config.kv_cache_bytes / bytes_per_page;
    if (pages >= pages_per_sequence) return pages;
    return absl::InvalidArgumentError(absl::StrCat(
        "--kv-cache is ", config.kv_cache_bytes, " bytes per rank, but one sequence of --max-model-len ",
        config.max_model_len, " needs ", pages_per_sequence * bytes_per_page, "; raise the one or lower the other"));
  }
  if (config.device == DeviceKind::kCuda) return pages_per_sequence;
  const int64_t wanted = CeilDiv(config.max_running_requests, num_domains) * pages_per_sequence;
  const int64_t affordable =
      std::min(kDefaultKvBytesPerRank, PhysicalMemoryBytes() / 4 / config.num_local_ranks) / bytes_per_page;
  return std::max(std::min(wanted, affordable), pages_per_sequence);
}

}  // namespace

WeightShard EnginePlan::ShardOf(int rank) const {
  const int64_t head_group = heads_are_split() ? rank : 0;
  const std::span<const int> experts = placement.ExpertsOf(rank);
  return {.head_begin = head_group * attention.num_heads,
          .head_end = (head_group + 1) * attention.num_heads,
          .kv_head_begin = head_group * attention.num_kv_heads,
          .kv_head_end = (head_group + 1) * attention.num_kv_heads,
          .experts = std::vector<int>(experts.begin(), experts.end())};
}

int64_t EnginePlan::max_divided_tokens() const {
  return heads_are_split() ? CeilDiv(config.max_batch_tokens, world_size) : config.max_batch_tokens;
}

DecoderLimits EnginePlan::decoder_limits() const {
  return {.max_batch_tokens = config.max_batch_tokens,
          .max_sequences = config.max_running_requests,
          .max_pages_per_sequence = pages_per_sequence(),
          .max_context = config.max_model_len,
          .has_slices = slices_tokens()};
}

CpuBackendOptions EnginePlan::cpu_backend_options(int rank) const {
  return {.num_threads = threads_per_rank,
          .reference = config.reference_kernels,
          .bf16_activations = config.activations == CpuActivations::kBFloat16,
          .int8_activations = config.activations == CpuActivations::kInt8,
          .num_guests = SharesLoops(config) ? (config.num_local_ranks - 1) * threads_per_rank : 0,
          .shared_loops = shared_loops,
          .offload = OffloadOf(rank)};
}

ExpertOffload EnginePlan::OffloadOf(int rank) const {
  if (expert_places.empty()) return {};
  return {.num_places = expert_places[static_cast<size_t>(rank)], .directory = config.offload_dir};
}

bool EnginePlan::offloads_experts() const {
  for (int rank = 0; rank < world_size && !expert_places.empty(); ++rank) {
    if (expert_places[static_cast<size_t>(rank)] < placement.num_slots(rank)) return true;
  }
  return false;
}

bool EnginePlan::slices_tokens() const {
  return heads_are_split() && std::any_of(exchanges.begin(), exchanges.end(), [this](ExchangeStrategy exchange) {
           return LayoutOf(config.attention, exchange) == TokenLayout::kSliced;
         });
}

void EnginePlan::SetExpertCounts(std::span<const int> num_experts) {
  CHECK_EQ(static_cast<int>(num_experts.size()), world_size);
  placement = ExpertPlacement::ContiguousRuns(num_experts);
}

void EnginePlan::SetPages(int64_t num_pages) {
  kv_shape.num_pages = num_pages;
  scheduler.pages_per_domain = num_pages;
  config.kv_cache_bytes = num_pages * kv_shape.BytesPerPage();
}

int64_t EnginePlan::pages_per_sequence() const { return CeilDiv(config.max_model_len, config.page_size); }

int64_t EnginePlan::max_useful_pages() const {
  return CeilDiv(config.max_running_requests, scheduler.num_kv_domains) * pages_per_sequence();
}

std::string EnginePlan::DescribeExchange() const {
  const std::string names = absl::StrJoin(
      exchanges, ", ", [](std::string* out, ExchangeStrategy strategy) { absl::StrAppend(out, Name(strategy)); });
  return config.exchange.has_value() ? names : absl::StrCat("auto (", names, ")");
}

bool SharesLoops(const EngineConfig& config) {
  return config.device == DeviceKind::kCpu && !config.reference_kernels && config.num_local_ranks > 1 &&
         config.launch.num_processes == 1;
}

DType ActivationDType(const EngineConfig& config, const DecoderSpec& spec) {
  if (config.device == DeviceKind::kCpu) return DType::kFloat32;
  const DType natural = spec.weight_dtype == DType::kFloat16 ? DType::kFloat16 : DType::kBFloat16;
  return config.dtype.value_or(natural);
}

absl::StatusOr<EnginePlan> MakeEnginePlan(const EngineConfig& requested, const DecoderSpec& spec, int world_size) {
  EngineConfig config = requested;
  if (config.max_model_len == 0) config.max_model_len = spec.max_position_embeddings;
  const absl::Status status = CheckConfig(config, spec, world_size);
  if (!status.ok()) return status;

  const bool split = config.attention == AttentionParallelism::kTensorParallel && world_size > 1;
  const int64_t head_groups = split ? world_size : 1;
  const AttentionSpec attention = {.num_heads = spec.num_heads / head_groups,
                                   .num_kv_heads = spec.num_kv_heads / head_groups,
                                   .head_dim = spec.head_dim,
                                   .scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim)),
                                   .sliding_window = spec.sliding_window};

  std::vector<ExchangeStrategy> exchanges;
  if (config.exchange.has_value()) {
    exchanges = {*config.exchange};
  } else if (config.attention == AttentionParallelism::kTensorParallel) {
    exchanges = {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce};
  } else {
    // Replicated attention with all_reduce keeps all KV on every rank: a choice of the user's, not of a step's.
    exchanges = {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather};
  }

  const bool divided = LayoutOf(config.attention, exchanges.front()) == TokenLayout::kDivided;
  const int num_domains = divided ? world_size : 1;
  KvCacheShape kv_shape = {.num_layers = spec.num_layers,
                           .num_kv_heads = attention.num_kv_heads,
                           .page_size = config.page_size,
                           .head_dim = spec.head_dim,
                           .dtype = config.kv_dtype.value_or(ActivationDType(config, spec))};
  absl::StatusOr<int64_t> num_pages = ChoosePages(config, kv_shape, num_domains);
  if (!num_pages.ok()) return num_pages.status();
  kv_shape.num_pages = *num_pages;
  // A GPU's pages are still open unless --kv-cache says how many.
  if (config.device == DeviceKind::kCpu || config.kv_cache_bytes > 0) {
    config.kv_cache_bytes = *num_pages * kv_shape.BytesPerPage();
  }

  const int cores = config.num_threads > 0 ? config.num_threads : static_cast<int>(std::thread::hardware_concurrency());
  EnginePlan plan{.config = config,
                  .world_size = world_size,
                  .threads_per_rank = std::max(1, cores / config.num_local_ranks),
                  .placement = ExpertPlacement::Contiguous(static_cast<int>(spec.num_experts), world_size),
                  .attention = attention,
                  .kv_shape = kv_shape,
                  .scheduler = {.num_kv_domains = num_domains,
                                .pages_per_domain = kv_shape.num_pages,
                                .page_size = config.page_size,
                                .max_batch_tokens = config.max_batch_tokens,
                                .max_running_requests = config.max_running_requests,
                                .reserve_worst_case = config.admission == Admission::kWorstCase,
                                .prefix_caching = config.prefix_caching},
                  .exchanges = std::move(exchanges)};
  if (config.expert_places.value_or(kAutoExpertPlaces) != kAutoExpertPlaces) {
    for (int rank = 0; rank < world_size; ++rank) {
      plan.expert_places.push_back(std::min<int64_t>(*config.expert_places, plan.placement.num_slots(rank)));
    }
  }
  return plan;
}

std::vector<std::pair<std::string, std::string>> JobFacts(const EngineConfig& config, const DecoderSpec& spec) {
  const auto text = [](const auto& value) { return absl::StrCat(value); };
  return {{"the version", kVersion},
          {"the model",
           absl::StrCat(spec.model_type, " of ", spec.num_layers, " layers, hidden ", spec.hidden_size, ", ",
                        spec.num_experts, " experts top-", spec.experts_per_token, ", vocabulary ", spec.vocab_size)},
          {"--device", config.device == DeviceKind::kCuda ? "cuda" : "cpu"},
          {"--attention", Name(config.attention)},
          {"--exchange", config.exchange.has_value() ? Name(*config.exchange) : "auto"},
          {"--max-model-len", text(config.max_model_len)},
          {"--kv-cache", text(config.kv_cache_bytes)},
          {"--max-batch-tokens", text(config.max_batch_tokens)},
          {"--max-running-requests", text(config.max_running_requests)},
          {"--page-size", text(config.page_size)},
          {"--activations", Name(config.activations)},
          {"--kernels", config.reference_kernels ? "reference" : "fast"},
          {"--dtype", Name(ActivationDType(config, spec))},
          {"--kv-dtype", config.kv_dtype.has_value() ? Name(*config.kv_dtype) : "auto"},
          {"--quantize", Name(config.quantize.experts)},
          {"--quantize-attention", Name(config.quantize.attention)},
          {"--quantize-embeddings", Name(config.quantize.embeddings)},
          {"--load-format", Name(config.load_format)},
          {"--offload-experts", Name(config.expert_places)},
          {"--no-cuda-graphs", config.cuda_graphs ? "false" : "true"},
          {"--collectives", config.staged_collectives ? "staged" : "auto"},
          // How soon a process is given up, and whether all wait for it to come back.
          {"--rank-timeout", absl::FormatDuration(config.rank_timeout)},
          {"--restart-ranks", text(config.restart_ranks)}};
}

}  // namespace switchyard
