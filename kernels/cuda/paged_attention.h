// Causal attention over paged keys and values, with grouped queries and an optional sliding window.
// Reference: kernels/cpu/reference_attention.cc.
//
//   out[t, h] = sum over s of softmax_s(scale * q[t, h] . k[s, h / group]) v[s, h / group]
//   over the positions s of t's sequence with s <= position(t) and, with a window, s > position(t) - window.
// Online softmax in float32: Milakov and Gimelshein 2018, arXiv:1805.02867; Dao 2023, arXiv:2307.08691.
//
// Two forms, each for the sequences of a step that suit it:
//   decode   sequences with one token in the step. Keys are split among blocks; the query heads of a group share each
//            load. Bound: memory, 2 * context * kv_heads * head_dim elements per sequence.
//   prefill  sequences with more. Tiles of queries over tiles of keys on the tensor cores.
//            Bound: arithmetic, 4 * heads * head_dim operations per query and visible key.
// Keys and values of 8 bits, with a scale per position and head (KvPages), are widened to the type of q in registers.
// head_dim is a multiple of 8 (of 16 where keys have 8 bits), at most 256; num_kv_heads divides num_heads; page_size >=
// 1; the pages hold fewer than 2^31 rows of head_dim elements. q, out, the pages and the scratch are aligned to 16
// bytes. The tokens of one sequence are consecutive, in the step as well as in their positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

struct PagedAttentionArgs {
  DType dtype = DType::kBFloat16;  // of q, out, and the pages unless:
  std::optional<DType> kv_dtype;   // kFloat8E4M3 or kInt8
  int64_t num_tokens = 0;
  int64_t num_sequences = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  float scale = 1.0f;          // positive
  int64_t sliding_window = 0;  // 0: none

  const void* q = nullptr;                  // [tokens, heads, head_dim]
  const int32_t* positions = nullptr;       // [tokens]
  const int32_t* token_sequence = nullptr;  // [tokens]; -1: a padding row, whose out becomes 0
  const int32_t* sequence_begin = nullptr;  // [sequences + 1]; a padding sequence has no tokens of its own
  const int32_t* page_table = nullptr;      // [sequences, page_table_width]
  int64_t page_table_width = 0;
  int64_t page_size = 0;
  const void* k_pages = nullptr;    // [pages, kv_heads, page_size, head_dim]
  const void* v_pages = nullptr;    // same
  const float* k_scales = nullptr;  // [pages, kv_heads, page_size]; with kv_dtype only
  const float* v_scales = nullptr;  // same

  // Bounds known on the host (AttentionIndex): they choose forms and splits, never results.
  int64_t max_context = 0;
  int64_t max_query_tokens = 0;
  int64_t min_query_tokens = 0;

  int num_multiprocessors = 1;  // a hint for the number of splits
  // PagedAttentionScratchBytes, zero before the first call; every call leaves it fit for the next.
  void* scratch = nullptr;
  void* out = nullptr;  // [tokens, heads, head_dim], every row written
};

// For any step of up to `max_sequences` sequences with this head geometry.
size_t PagedAttentionScratchBytes(int64_t max_sequences, int64_t num_heads, int64_t head_dim);

void PagedAttention(const PagedAttentionArgs& args, Stream stream);

}  // namespace switchyard::cuda
