#include "engine/checkpoint/weight_map.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

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

// A tensor of a shard, before anybody claims it.
struct Candidate {
  size_t file = 0;
  const SafetensorsEntry* entry = nullptr;
};
using Candidates = std::map<absl::string_view, Candidate>;

absl::StatusOr<Candidates> CollectCandidates(std::span<const ShardHeader> shards) {
  Candidates candidates;
  for (size_t file = 0; file < shards.size(); ++file) {
    for (const SafetensorsEntry& entry : shards[file].header.tensors) {
      const auto [other, is_new] = candidates.emplace(entry.name, Candidate{.file = file, .entry = &entry});
      if (is_new) continue;
      return absl::InvalidArgumentError(absl::StrCat(shards[file].path, ": tensor ", QuoteName(entry.name),
                                                     " occurs in 2 files, also in ", shards[other->second.file].path,
                                                     "; it must be in 1"));
    }
  }
  return candidates;
}

absl::StatusOr<TensorLocation> Locate(const Candidate& candidate, const ShardHeader& shard,
                                      const std::vector<int64_t>& expected) {
  const SafetensorsEntry& entry = *candidate.entry;
  const std::string where = absl::StrCat(shard.path, ": tensor ", QuoteName(entry.name));
  if (shard.unlisted.contains(entry.name)) {
    return absl::InvalidArgumentError(absl::StrCat(where,
                                                   " is not named by the directory's index: ", shard.unlisted.size(),
                                                   " of the file's ", shard.header.tensors.size(), " tensors are not"));
  }
  if (entry.shape != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " has shape ", ShapeText(entry.shape), " but config.json implies ", ShapeText(expected)));
  }
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    if (entry.dtype != Name(dtype)) continue;
    return TensorLocation{
        .name = entry.name, .file = candidate.file, .dtype = dtype, .shape = entry.shape, .begin = entry.begin};
  }
  return absl::InvalidArgumentError(absl::StrCat(where, " (", entry.end - entry.begin, " bytes) has dtype ",
                                                 entry.dtype,
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
void WarnOfUnused(const Candidates& candidates, std::span<const ShardHeader> shards, const WeightNaming& naming,
                  std::vector<std::string>& warnings) {
  std::vector<absl::string_view> names;
  for (const auto& [name, candidate] : candidates) {
    const absl::string_view tensor = name;
    const bool ignorable = std::any_of(naming.ignorable_suffixes.begin(), naming.ignorable_suffixes.end(),
                                       [tensor](absl::string_view suffix) { return absl::EndsWith(tensor, suffix); });
    if (!ignorable) names.push_back(name);
  }
  constexpr size_t kMostNamed = 8;
  for (size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) {
    warnings.push_back(absl::StrCat(shards[candidates.at(names[i]).file].path, ": tensor ", QuoteName(names[i]),
                                    " is not a weight of this model and is ignored"));
  }
  if (names.size() > kMostNamed) {
    warnings.push_back(absl::StrCat(names.size() - kMostNamed, " further tensors are not weights of this model"));
  }
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

absl::StatusOr<WeightMap> WeightMap::Make(const DecoderSpec& spec, const WeightNaming& naming,
                                          std::span<const ShardHeader> shards, std::vector<std::string>& warnings) {
  const absl::StatusOr<std::vector<ImpliedWeight>> implied = ImpliedWeights(spec, naming);
  if (!implied.ok()) return implied.status();
  absl::StatusOr<Candidates> candidates = CollectCandidates(shards);
  if (!candidates.ok()) return candidates.status();
  WeightMap map;
  int64_t num_missing = 0;
  std::string first_missing;
  for (const ImpliedWeight& weight : *implied) {
    const auto found = candidates->find(weight.name);
    if (found == candidates->end()) {
      if (num_missing++ == 0) first_missing = weight.name;
      continue;
    }
    absl::StatusOr<TensorLocation> location =
        Locate(found->second, shards[found->second.file], ExpectedShape(weight.role, spec));
    if (!location.ok()) return location.status();
    map.locations_.emplace(std::tuple(weight.role, weight.layer, weight.expert), *std::move(location));
    candidates->erase(found);
  }
  if (num_missing > 0) {
    const int64_t num_found = static_cast<int64_t>(map.locations_.size());
    return absl::InvalidArgumentError(absl::StrCat(
        shards.empty() ? "" : shards[0].path, shards.size() > 1 ? " and the other shards" : "", ": tensor ",
        QuoteName(first_missing), " is missing: config.json implies ", num_found + num_missing, " tensors, ", num_found,
        " are present",
        first_missing == "lm_head.weight" ? "; if the model shares its embedding, set tie_word_embeddings" : ""));
  }
  WarnOfUnused(*candidates, shards, naming, warnings);
  return map;
}

absl::StatusOr<WeightMap> WeightMap::Imagine(const DecoderSpec& spec, const WeightNaming& naming) {
  absl::StatusOr<std::vector<ImpliedWeight>> implied = ImpliedWeights(spec, naming);
  if (!implied.ok()) return implied.status();
  WeightMap map;
  for (ImpliedWeight& weight : *implied) {
    map.locations_.emplace(
        std::tuple(weight.role, weight.layer, weight.expert),
        TensorLocation{
            .name = std::move(weight.name), .dtype = spec.weight_dtype, .shape = ExpectedShape(weight.role, spec)});
  }
  return map;
}

const TensorLocation& WeightMap::Find(WeightRole role, int64_t layer, int64_t expert) const {
  const auto found = locations_.find(std::tuple(role, layer, expert));
  CHECK(found != locations_.end());
  return found->second;
}

}  // namespace switchyard
