// The weights of one rank: its experts, and all or its share of the attention heads.
#pragma once

#include <memory>
#include <vector>

#include "kernels/device.h"
#include "kernels/weights.h"

namespace switchyard {

struct LayerWeights {
  Tensor input_norm;                         // float32 [hidden]
  std::unique_ptr<Matrix> qkv;               // [(heads + 2 * kv_heads) * head_dim, hidden]: q rows, k rows, v rows
  std::unique_ptr<Matrix> attention_output;  // [hidden, heads * head_dim]
  Tensor post_attention_norm;                // float32 [hidden]
  std::unique_ptr<Matrix> router;            // [num_experts, hidden]
  std::unique_ptr<ExpertWeights> experts;    // this rank's, in slot order; never null, but possibly of no expert
};

struct ModelWeights {
  std::shared_ptr<Matrix> embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  Tensor final_norm;                // float32 [hidden]
  std::shared_ptr<Matrix> lm_head;  // [vocab, hidden]; the embedding itself when the two are tied
};

// Which part of the model a rank holds.
struct WeightShard {
  int64_t head_begin = 0;  // attention heads [head_begin, head_end)
  int64_t head_end = 0;
  int64_t kv_head_begin = 0;
  int64_t kv_head_end = 0;
  std::vector<int> experts;  // global ids in slot order
};

}  // namespace switchyard
