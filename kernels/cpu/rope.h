// Rotary embedding of one token, on one thread.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/kv_rows.h"

namespace switchyard {

// The tensors of one RopeAppendKv.
struct RopeTask {
  const AttentionSpec& attention;
  const RopeSpec& rope;
  const AttentionIndex& index;
  const float* qkv;  // [tokens, (heads + 2 kv_heads) * head_dim]
  float* q_out;      // [tokens, heads, head_dim]
  KvRows keys;
  KvRows values;
};

// Tokens [begin, end). cosines and sines are taken once per token and used by all its heads.
void RopeAppendTokens(const RopeTask& task, int64_t begin, int64_t end);

}  // namespace switchyard
