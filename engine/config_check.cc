#include "engine/config_check.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace switchyard {
namespace {

absl::Status AtLeastOne(absl::string_view flag, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, " is ", value, "; the least is 1"));
}

absl::Status CheckHeads(const DecoderSpec& spec, int world_size) {
  const std::pair<absl::string_view, int64_t> counts[] = {{"num_attention_heads", spec.num_heads},
                                                          {"num_key_value_heads", spec.num_kv_heads}};
  for (const auto& [name, count] : counts) {
    if (count % world_size == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--attention tensor-parallel: the checkpoint's ", name, " of ", count, " does not divide among ",
                     world_size, " ranks; use a number of ranks that divides it, or --attention replicated"));
  }
  return absl::OkStatus();
}

absl::Status CheckModelLength(const DecoderSpec& spec, const EngineConfig& config) {
  if (config.max_model_len >= 1 && config.max_model_len <= spec.max_position_embeddings) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--max-model-len is ", config.max_model_len,
                                                 "; the checkpoint's max_position_embeddings allows 1 to ",
                                                 spec.max_position_embeddings));
}

// The limits of the CUDA kernels (kernels/cuda/*.h).
absl::Status CheckCudaShapes(const DecoderSpec& spec) {
  struct Limit {
    absl::string_view field;
    int64_t value;
    int64_t multiple_of;
    int64_t max;  // 0: none
  };
  const Limit limits[] = {{"hidden_size", spec.hidden_size, 8, 0},
                          {"intermediate_size", spec.expert_intermediate_size, 8, 0},
                          {"head_dim", spec.head_dim, 8, 256},
                          {"num_local_experts", spec.num_experts, 1, 512},
                          {"num_experts_per_tok", spec.experts_per_token, 1, 16}};
  for (const Limit& limit : limits) {
    if (limit.value % limit.multiple_of == 0 && (limit.max == 0 || limit.value <= limit.max)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--device cuda: the checkpoint's ", limit.field, " is ", limit.value, "; the GPU kernels take ",
                     limit.multiple_of > 1 ? absl::StrCat("multiples of ", limit.multiple_of) : "any number",
                     limit.max > 0 ? absl::StrCat(" up to ", limit.max) : "", "; this model runs with --device cpu"));
  }
  return absl::OkStatus();
}

absl::Status CheckKvDType(const DecoderSpec& spec, const EngineConfig& config) {
  if (!config.kv_dtype.has_value()) return absl::OkStatus();
  // A row of 8-bit elements in units of 16 bytes, as the kernels load it.
  constexpr int64_t kMultiple = 16;
  if (config.device != DeviceKind::kCuda || spec.head_dim % kMultiple == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--kv-dtype ", *config.kv_dtype == DType::kInt8 ? "int8" : "fp8", " with --device cuda: head_dim is ",
      spec.head_dim, "; the GPU kernels take multiples of ", kMultiple, " for it; use --kv-dtype auto"));
}

absl::Status CheckExpertPlaces(const DecoderSpec& spec, const EngineConfig& config) {
  const int64_t places = config.expert_places.value_or(kAutoExpertPlaces);
  if (places == kAutoExpertPlaces || (places >= 1 && places <= spec.num_experts)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--offload-experts is ", places, "; the model has ", spec.num_experts,
                                                 " experts per layer: 1 to ", spec.num_experts,
                                                 " of them can be kept on the device, or auto"));
}

}  // namespace

absl::Status CheckConfig(const EngineConfig& config, const DecoderSpec& spec, int world_size) {
  const std::pair<absl::string_view, int64_t> positive[] = {{"--ranks", config.num_local_ranks},
                                                            {"--max-batch-tokens", config.max_batch_tokens},
                                                            {"--max-running-requests", config.max_running_requests},
                                                            {"--max-queued-requests", config.max_queued_requests},
                                                            {"--page-size", config.page_size}};
  for (const auto& [flag, value] : positive) {
    absl::Status status = AtLeastOne(flag, value);
    if (!status.ok()) return status;
  }
  absl::Status status = CheckModelLength(spec, config);
  if (!status.ok()) return status;
  if (config.device == DeviceKind::kCuda) status = CheckCudaShapes(spec);
  if (!status.ok()) return status;
  status = CheckKvDType(spec, config);
  if (status.ok()) status = CheckExpertPlaces(spec, config);
  if (!status.ok()) return status;
  const bool split = config.attention == AttentionParallelism::kTensorParallel && world_size > 1;
  if (split) status = CheckHeads(spec, world_size);
  return status;
}

}  // namespace switchyard
