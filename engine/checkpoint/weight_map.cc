#include "engine/checkpoint/weight_map.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/checkpoint/quantized_location.h"
#include "engine/checkpoint/shard_tensors.h"

namespace switchyard {
namespace {

constexpr WeightName kMixtralNames[] = {
    {WeightRole::kEmbedding, "model.embed_tokens.weight"},
    {WeightRole::kFinalNorm, "model.norm.weight"},
    {WeightRole::kLmHead, "lm_head.weight"},
    {WeightRole::kInputNorm, "model.layers.{layer}.input_layernorm.weight"},
    {WeightRole::kPostAttentionNorm, "model.layers.{layer}.post_attention_layernorm.weight"},
    {WeightRole::kQuery, "model.layers.{layer}.self_attn.q_proj.weight"},
    {WeightRole::kKey, "model.layers.{layer}.self_attn.k_proj.weight"},
    {WeightRole::kValue, "model.layers.{layer}.self_attn.v_proj.weight"},
    {WeightRole::kAttentionOutput, "model.layers.{layer}.self_attn.o_proj.weight"},
    {WeightRole::kRouter, "model.layers.{layer}.block_sparse_moe.gate.weight"},
    {WeightRole::kExpertGate, "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight"},
    {WeightRole::kExpertUp, "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight"},
    {WeightRole::kExpertDown, "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight"},
};
constexpr absl::string_view kMixtralIgnorable[] = {".rotary_emb.inv_freq"};
constexpr WeightNaming kMixtral{.names = kMixtralNames, .ignorable_suffixes = kMixtralIgnorable};

absl::StatusOr<TensorLocation> LocateDense(const ShardTensors& tensors, const ShardTensor& tensor,
                                           const std::vector<int64_t>& expected) {
  const absl::Status checked = tensors.Check(tensor, expected, "config.json");
  if (!checked.ok()) return checked;
  const SafetensorsEntry& entry = *tensor.entry;
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    if (entry.dtype != Name(dtype)) continue;
    return TensorLocation{
        .name = entry.name, .file = tensor.file, .dtype = dtype, .shape = entry.shape, .begin = entry.begin};
  }
  return absl::InvalidArgumentError(absl::StrCat(tensors.Where(tensor), " (", entry.end - entry.begin,
                                                 " bytes) has dtype ", entry.dtype,
                                                 "; weights must be BF16, F16 or F32: convert the checkpoint"));
}

// A weight that the model has, under the name that a checkpoint gives it; 0 where the role has no layer or expert.
struct ImpliedWeight {
  WeightRole role;
  int64_t layer = 0;
  int64_t expert = 0;
  std::string name;
};

// Experts of all layers; the largest models have some 25,000.
constexpr int64_t kMaxExperts = int64_t{1} << 20;

// In the order of the family's table. INVALID_ARGUMENT if they are absurdly many.
absl::StatusOr<std::vector<ImpliedWeight>> ImpliedWeights(const DecoderSpec& spec, const WeightNaming& naming) {
  if (const int64_t most = spec.num_layers * spec.num_experts; most > kMaxExperts) {
    return absl::InvalidArgumentError(absl::StrCat("config.json: num_hidden_layers ", spec.num_layers,
                                                   " times num_local_experts ", spec.num_experts, " is ", most,
                                                   "; at most ", kMaxExperts, " are supported"));
  }
  std::vector<ImpliedWeight> weights;
  for (const WeightName& weight : naming.names) {
    if (weight.role == WeightRole::kLmHead && spec.tie_word_embeddings) continue;
    const int64_t num_layers = absl::StrContains(weight.pattern, "{layer}") ? spec.num_layers : 1;
    const int64_t num_experts = absl::StrContains(weight.pattern, "{expert}") ? spec.num_experts : 1;
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      for (int64_t expert = 0; expert < num_experts; ++expert) {
        weights.push_back({.role = weight.role,
                           .layer = layer,
                           .expert = expert,
                           .name = absl::StrReplaceAll(weight.pattern, {{"{layer}", absl::StrCat(layer)},
                                                                        {"{expert}", absl::StrCat(expert)}})});
      }
    }
  }
  return weights;
}

// What is still unclaimed is named for the log, by a count where there are many.
void WarnOfUnused(const ShardTensors& tensors, const WeightNaming& naming, std::vector<std::string>& warnings) {
  std::vector<absl::string_view> names;
  for (const absl::string_view name : tensors.Unclaimed()) {
    const bool ignorable = std::any_of(naming.ignorable_suffixes.begin(), naming.ignorable_suffixes.end(),
                                       [name](absl::string_view suffix) { return absl::EndsWith(name, suffix); });
    if (!ignorable) names.push_back(name);
  }
  constexpr size_t kMostNamed = 8;
  for (size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) {
    warnings.push_back(
        absl::StrCat(tensors.Where(*tensors.Find(names[i])), " is not a weight of this model and is ignored"));
  }
  if (names.size() > kMostNamed) {
    warnings.push_back(absl::StrCat(names.size() - kMostNamed, " further tensors are not weights of this model"));
  }
}

// Whether programs that quantise as `config` says do so to weights of `role`, unless the config keeps them.
bool IsUsuallyQuantized(WeightRole role, const QuantizationConfig& config) {
  switch (role) {
    case WeightRole::kQuery:
    case WeightRole::kKey:
    case WeightRole::kValue:
    case WeightRole::kAttentionOutput:
    case WeightRole::kExpertGate:
    case WeightRole::kExpertUp:
    case WeightRole::kExpertDown:
      return true;
    case WeightRole::kRouter:
      return config.storage == WeightStorage::kBitsAndBytes;
    case WeightRole::kLmHead:
      return config.lm_head;
    default:
      return false;
  }
}

// Of what the tensors decided, against what the config states.
absl::Status CompareWithConfig(const QuantizationConfig& config, int64_t num_quantized, int64_t num_kept,
                               std::vector<std::string>& warnings) {
  if (num_quantized == 0) {
    return absl::InvalidArgumentError(absl::StrCat(config.place, " says ", Name(config.storage),
                                                   ", but all weights are dense: remove it if that is right"));
  }
  if (num_kept > 0) {
    warnings.push_back(absl::StrCat(config.place, " keeps modules dense of which ", num_kept, " are quantised"));
  }
  return absl::OkStatus();
}

}  // namespace

const WeightNaming& NamingOf(absl::string_view model_type) {
  CHECK(model_type == "mixtral");
  return kMixtral;
}

std::vector<int64_t> ExpectedShape(WeightRole role, const DecoderSpec& spec) {
  switch (role) {
    case WeightRole::kEmbedding:
    case WeightRole::kLmHead:
      return {spec.vocab_size, spec.hidden_size};
    case WeightRole::kFinalNorm:
    case WeightRole::kInputNorm:
    case WeightRole::kPostAttentionNorm:
      return {spec.hidden_size};
    case WeightRole::kQuery:
      return {spec.num_heads * spec.head_dim, spec.hidden_size};
    case WeightRole::kKey:
    case WeightRole::kValue:
      return {spec.num_kv_heads * spec.head_dim, spec.hidden_size};
    case WeightRole::kAttentionOutput:
      return {spec.hidden_size, spec.num_heads * spec.head_dim};
    case WeightRole::kRouter:
      return {spec.num_experts, spec.hidden_size};
    case WeightRole::kExpertGate:
    case WeightRole::kExpertUp:
      return {spec.expert_intermediate_size, spec.hidden_size};
    case WeightRole::kExpertDown:
      return {spec.hidden_size, spec.expert_intermediate_size};
  }
  return {};
}

int64_t TensorLocation::bytes() const {
  if (is_dense()) return rows() * row_bytes();
  int64_t sum = 0;
  for (const TensorPart& part : parts) sum += part.bytes;
  return sum;
}

absl::StatusOr<WeightMap> WeightMap::Make(const DecoderSpec& spec, const WeightNaming& naming,
                                          const QuantizationConfig* quantization, std::span<const ShardHeader> shards,
                                          std::vector<std::string>& warnings) {
  const absl::StatusOr<std::vector<ImpliedWeight>> implied = ImpliedWeights(spec, naming);
  if (!implied.ok()) return implied.status();
  absl::StatusOr<ShardTensors> tensors = ShardTensors::Make(shards);
  if (!tensors.ok()) return tensors.status();
  WeightMap map;
  int64_t num_missing = 0;
  int64_t num_quantized = 0;
  int64_t num_kept = 0;
  std::string first_missing;
  for (const ImpliedWeight& weight : *implied) {
    const std::vector<int64_t> shape = ExpectedShape(weight.role, spec);
    absl::StatusOr<TensorLocation> location = TensorLocation{};
    if (shape.size() == 2 && StorageOf(*tensors, weight.name) != WeightStorage::kDense) {
      location = LocateQuantized(*tensors, weight.name, shape, quantization);
      if (!location.ok()) return location.status();
      location->dtype = spec.weight_dtype;
      ++num_quantized;
      if (quantization->Keeps(weight.name)) ++num_kept;
    } else if (const ShardTensor* const tensor = tensors->Find(weight.name)) {
      location = LocateDense(*tensors, *tensor, shape);
      if (!location.ok()) return location.status();
      tensors->Claim(weight.name);
    } else {
      if (num_missing++ == 0) first_missing = weight.name;
      continue;
    }
    map.locations_.emplace(std::tuple(weight.role, weight.layer, weight.expert), *std::move(location));
  }
  if (num_missing > 0) {
    const int64_t num_found = static_cast<int64_t>(map.locations_.size());
    return absl::InvalidArgumentError(absl::StrCat(
        shards.empty() ? "" : shards[0].path, shards.size() > 1 ? " and the other shards" : "", ": tensor ",
        QuoteName(first_missing), " is missing: config.json implies ", num_found + num_missing, " tensors, ", num_found,
        " are present",
        first_missing == "lm_head.weight" ? "; if the model shares its embedding, set tie_word_embeddings" : ""));
  }
  if (quantization != nullptr) {
    absl::Status status = CompareWithConfig(*quantization, num_quantized, num_kept, warnings);
    if (!status.ok()) return status;
  }
  WarnOfUnused(*tensors, naming, warnings);
  return map;
}

absl::StatusOr<WeightMap> WeightMap::Imagine(const DecoderSpec& spec, const WeightNaming& naming,
                                             const QuantizationConfig* quantization) {
  absl::StatusOr<std::vector<ImpliedWeight>> implied = ImpliedWeights(spec, naming);
  if (!implied.ok()) return implied.status();
  WeightMap map;
  for (ImpliedWeight& weight : *implied) {
    TensorLocation location{
        .name = std::move(weight.name), .dtype = spec.weight_dtype, .shape = ExpectedShape(weight.role, spec)};
    if (quantization != nullptr && IsUsuallyQuantized(weight.role, *quantization) &&
        !quantization->Keeps(location.name)) {
      const absl::StatusOr<Quantization> neutral = quantization->Neutral(location.columns());
      if (!neutral.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(quantization->place, ": ", QuoteName(location.name), ": ", neutral.status().message()));
      }
      location.storage = quantization->storage;
      location.quantization = *neutral;
    }
    map.locations_.emplace(std::tuple(weight.role, weight.layer, weight.expert), std::move(location));
  }
  return map;
}

const TensorLocation& WeightMap::Find(WeightRole role, int64_t layer, int64_t expert) const {
  const auto found = locations_.find(std::tuple(role, layer, expert));
  CHECK(found != locations_.end());
  return found->second;
}

}  // namespace switchyard
