// Rotary embedding fused with the write of keys and values into their pages, as they are or in 8 bits with a scale per
// position and head (kernels/kv_scale.h). Reference: kernels/cpu/reference_attention.cc.
//
// For i < rotary_dim / 2, with angle = position * inv_freq[i]:
//   x'[i]                  = (x[i] cos(angle) - x[i + rotary_dim / 2] sin(angle)) * attention_factor
//   x'[i + rotary_dim / 2] = (x[i + rotary_dim / 2] cos(angle) + x[i] sin(angle)) * attention_factor
// Source: Su et al. 2021, arXiv:2104.09864, in the half-split layout of Hugging Face checkpoints.
// Bound: memory, qkv read and written once. head_dim is a multiple of 8, at most 256.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

struct RopeAppendKvArgs {
  DType dtype = DType::kBFloat16;  // of qkv, q_out, and the pages unless:
  std::optional<DType> kv_dtype;   // kFloat8E4M3 or kInt8
  int64_t num_tokens = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  const void* qkv = nullptr;  // [tokens, (heads + 2 kv_heads) * head_dim]: q heads, k heads, v heads

  const float* inv_freq = nullptr;  // [rotary_dim / 2], device memory
  int64_t rotary_dim = 0;
  float attention_factor = 1.0f;  // multiplies cos and sin

  const int32_t* positions = nullptr;       // [tokens]
  const int32_t* token_sequence = nullptr;  // [tokens]; -1: a padding row, skipped
  const int32_t* page_table = nullptr;      // [sequences, page_table_width]
  int64_t page_table_width = 0;
  int64_t page_size = 0;

  void* q_out = nullptr;      // [tokens, heads, head_dim]
  void* k_pages = nullptr;    // [pages, kv_heads, page_size, head_dim]
  void* v_pages = nullptr;    // same
  float* k_scales = nullptr;  // [pages, kv_heads, page_size]; with kv_dtype only
  float* v_scales = nullptr;  // same
};

void RopeAppendKv(const RopeAppendKvArgs& args, Stream stream);

}  // namespace switchyard::cuda
