// Rotary frequencies from what config.json says of them, in the float32 arithmetic of transformers, so that angles
// agree at long positions.
// Sources: Su et al. 2021, arXiv:2104.09864; Peng et al. 2023, arXiv:2309.00071 (YaRN); the rope types and their
// defaults as documented in transformers' modeling_rope_utils.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/checkpoint/json_fields.h"

namespace switchyard {

struct RopeFrequencies {
  std::vector<float> inv_freq;    // [head_dim / 2]
  float attention_factor = 1.0f;  // multiplies cos and sin
};

struct Llama3Scaling {
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_max_position_embeddings = 8192;
};

struct YarnScaling {
  double factor = 1;
  double beta_fast = 32;  // rotations above which a dimension is left alone
  double beta_slow = 1;   // rotations below which it is interpolated
  double original_max_position_embeddings = 4096;
  bool truncate = true;  // the bounds of the ramp to whole dimensions
};

// theta^(-2i / head_dim) for i in [0, head_dim / 2).
std::vector<float> DefaultInvFreq(double theta, int64_t head_dim);
// Slow dimensions divided by `factor`, fast ones kept, a smooth passage between.
std::vector<float> Llama3InvFreq(std::vector<float> inv_freq, const Llama3Scaling& scaling);
std::vector<float> YarnInvFreq(double theta, int64_t head_dim, const YarnScaling& scaling);

// Reads rope_theta, rope_scaling or rope_parameters, original_max_position_embeddings and partial_rotary_factor.
// Types: default, linear, llama3, yarn; any other is a fault of `config` that names it. Fields of the rope object that
// mean nothing here are named in `warnings`.
RopeFrequencies ReadRopeFrequencies(JsonFields& config, int64_t head_dim, int64_t max_position_embeddings,
                                    std::vector<std::string>& warnings);

}  // namespace switchyard
