#include "engine/checkpoint/writer/output_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

constexpr absl::string_view kWeight = ".weight";

WeightShard WholeModel(const DecoderSpec& spec) {
  WeightShard shard{.head_end = spec.num_heads,
                    .kv_head_end = spec.num_kv_heads,
                    .experts = std::vector<int>(static_cast<size_t>(spec.num_experts))};
  std::iota(shard.experts.begin(), shard.experts.end(), 0);
  return shard;
}

using WeightsByName = std::map<std::string, const TensorLocation*>;

void AddNames(const StackedSlices& stacked, WeightsByName& quantized, WeightsByName& dense) {
  for (const TensorSlice& slice : stacked.slices) {
    (stacked.quantization.is_dense() ? dense : quantized).emplace(slice.tensor->name, slice.tensor);
  }
}

std::string ModuleOf(const std::string& weight) { return std::string(absl::StripSuffix(weight, kWeight)); }

// Every weight that is multiplied with, by whether it is quantised.
void AddNames(const LoadPlan& plan, WeightsByName& quantized, WeightsByName& dense) {
  for (const LayerPlan& layer : plan.layers) {
    for (const StackedSlices* stacked : {&layer.qkv, &layer.attention_output, &layer.router}) {
      AddNames(*stacked, quantized, dense);
    }
    for (const ExpertPlan& expert : layer.experts) {
      AddNames(expert.gate_up, quantized, dense);
      AddNames(expert.down, quantized, dense);
    }
  }
  if (plan.lm_head) AddNames(*plan.lm_head, quantized, dense);
}

absl::StatusOr<OutputWeight> PlanWeight(const ShardHeader& shard, size_t file, const SafetensorsEntry& entry,
                                        const TensorLocation* quantized, const WeightEncoder& encoder) {
  OutputWeight weight{.source_bytes = entry.end - entry.begin, .is_quantized = quantized != nullptr};
  if (quantized != nullptr) {
    weight.source = *quantized;
    absl::StatusOr<std::vector<TensorLayout>> layouts = encoder.LayoutsOf(*quantized);
    if (!layouts.ok()) {
      return absl::Status(layouts.status().code(), absl::StrCat(shard.path, ": tensor ", QuoteName(entry.name), ": ",
                                                                layouts.status().message()));
    }
    weight.tensors = *std::move(layouts);
    return weight;
  }
  weight.source = {.name = entry.name, .file = file, .shape = entry.shape, .begin = entry.begin};
  weight.tensors.push_back(
      {.name = entry.name, .dtype = std::string(entry.dtype), .shape = entry.shape, .bytes = weight.source_bytes});
  return weight;
}

void NameShards(std::vector<OutputShard>& shards) {
  if (shards.size() == 1) {
    shards.front().name = "model.safetensors";
    return;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
  }
}

}  // namespace

int64_t OutputWeight::bytes() const {
  int64_t sum = 0;
  for (const TensorLayout& tensor : tensors) sum += tensor.bytes;
  return sum;
}

std::vector<TensorLayout> OutputShard::tensors() const {
  std::vector<TensorLayout> all;
  for (const OutputWeight& weight : weights) all.insert(all.end(), weight.tensors.begin(), weight.tensors.end());
  return all;
}

absl::StatusOr<SourceCheckpoint> OpenSource(const std::string& directory, const QuantizationChoices& quantize) {
  const absl::StatusOr<FileOpener> open = VerifyingOpener(directory, OpenPosixFile);
  if (!open.ok()) return open.status();
  absl::StatusOr<ConfigFiles> configs = ReadConfigFiles(absl::StrCat(directory, "/config.json"), *open);
  if (!configs.ok()) return configs.status();
  if (configs->quantization.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(configs->quantization->place, ": the checkpoint is quantised already (",
                     Name(configs->quantization->storage), "): take the original, in bfloat16 or float16"));
  }
  absl::StatusOr<ShardFiles> shards = OpenShardFiles(*open, directory, configs->warnings);
  if (!shards.ok()) return shards.status();
  absl::StatusOr<WeightMap> weights = WeightMap::Make(configs->spec, NamingOf(configs->spec.model_type),
                                                      /*quantization=*/nullptr, shards->headers, configs->warnings);
  if (!weights.ok()) return weights.status();
  if (absl::Status status = CheckChoices(configs->spec, *weights, quantize); !status.ok()) return status;
  return SourceCheckpoint{*std::move(configs), *std::move(shards), *std::move(weights)};
}

absl::StatusOr<OutputPlan> PlanOutput(const SourceCheckpoint& source, const QuantizationChoices& quantize,
                                      const WeightEncoder& encoder, int64_t max_shard_bytes) {
  const DecoderSpec& spec = source.configs.spec;
  const LoadPlan load = MakeLoadPlan(spec, source.weights, quantize, WholeModel(spec));
  WeightsByName quantized;
  WeightsByName dense;
  AddNames(load, quantized, dense);
  OutputPlan plan{.warnings = load.warnings};
  for (const auto& [name, weight] : quantized) plan.modules.quantized.push_back(ModuleOf(name));
  for (const auto& [name, weight] : dense) plan.modules.dense.push_back(ModuleOf(name));
  // Tables that are looked up are no linear modules, but are quantised like them.
  WeightsByName ignored;
  AddNames(load.embedding, quantized, ignored);

  int64_t in_shard = 0;
  for (size_t file = 0; file < source.shards.headers.size(); ++file) {
    const ShardHeader& header = source.shards.headers[file];
    for (const SafetensorsEntry& entry : header.header.tensors) {
      if (header.unlisted.contains(entry.name)) continue;
      const auto location = quantized.find(entry.name);
      absl::StatusOr<OutputWeight> weight =
          PlanWeight(header, file, entry, location == quantized.end() ? nullptr : location->second, encoder);
      if (!weight.ok()) return weight.status();
      if (plan.shards.empty() || in_shard + weight->bytes() > max_shard_bytes) {
        plan.shards.emplace_back();
        in_shard = 0;
      }
      in_shard += weight->bytes();
      plan.bytes += weight->bytes();
      plan.source_bytes += weight->source_bytes;
      plan.shards.back().weights.push_back(*std::move(weight));
    }
  }
  NameShards(plan.shards);
  return plan;
}

}  // namespace switchyard
