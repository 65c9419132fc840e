// A decoder described by data: what config.json says, in our terms. Families differ in values, not in classes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/tensor.h"

namespace switchyard {

struct DecoderSpec {
  std::string model_type;  // "mixtral"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t max_position_embeddings = 0;
  float rms_norm_eps = 1e-5f;
  bool tie_word_embeddings = false;
  DType weight_dtype = DType::kBFloat16;  // torch_dtype; each tensor's own dtype decides on loading

  // Attention
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  std::optional<int64_t> sliding_window;
  std::vector<float> rope_inv_freq;  // [rotary_dim / 2], scaling applied
  float rope_attention_factor = 1.0f;

  // Mixture of experts
  int64_t num_experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_intermediate_size = 0;
  bool renormalize_router_weights = true;

  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;

  std::vector<std::string> warnings;  // for the log: fields of config.json that were not understood and are ignored
};

}  // namespace switchyard
