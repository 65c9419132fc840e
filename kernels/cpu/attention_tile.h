// Paged attention of consecutive tokens of one sequence and one KV head, on one thread.
//
// The query heads of all its tokens meet a block of keys together, as two dense products with the online softmax of
// attention.h between them: scores [rows, keys] = q K^T, out [rows, head_dim] += weights V. So a key is loaded once per
// tile, not once per token; 8-bit elements become floats then. A row is one query head of one token; rows see their own
// part of a block.
#pragma once

#include <cstdint>

#include "kernels/cpu/kv_rows.h"

namespace switchyard {

struct AttentionTile {
  const float* q = nullptr;            // first token's query heads of this KV head, [queries, head_dim]
  float* out = nullptr;                // same
  int64_t token_stride = 0;            // elements of q and out from one token to the next
  const int32_t* positions = nullptr;  // [tokens]
  int64_t tokens = 0;
  int64_t queries = 0;
  int64_t head_dim = 0;
  float scale = 1.0f;
  int64_t window = 0;  // a token at p sees (p - window, p]; any larger than the context: all of [0, p]
  int64_t sequence = 0;
  int64_t kv_head = 0;
};

// Rows that a tile has at most, unless one token has more.
inline constexpr int64_t kAttentionTileRows = 96;

// Floats of scratch that a tile with so many rows takes.
int64_t AttentionTileScratch(int64_t rows, int64_t head_dim);
// scratch: aligned to 64 bytes.
void AttendTile(const AttentionTile& tile, const KvRows& keys, const KvRows& values, float* scratch);

}  // namespace switchyard
