// Paged attention of one token and some of its KV heads, on one thread.
//
// Online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867): keys are taken block by block; where a block raises
// the largest score, what was summed so far is scaled down. All query heads of a KV head share its loads, and the KV
// heads of a page follow each other as they do in memory, whose next rows are on their way meanwhile. 8-bit elements
// are widened in registers; their scales meet scores and weights, not elements.
//
// Long contexts are taken in parts (Flash-Decoding, Dao et al. 2023), which are merged in their order: the result does
// not depend on who computed which.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/kv_rows.h"

namespace switchyard {

// Positions of a part; parts begin at multiples of it.
inline constexpr int64_t kAttentionPartKeys = 1024;

// Of the weights that one query's output was summed with: weight = exp(score - largest).
struct SoftmaxSums {
  float largest;
  float total;
};

struct AttentionTask {
  const float* q = nullptr;     // [kv_heads, queries, head_dim]
  float* out = nullptr;         // same: the weighted sum of values
  SoftmaxSums* sums = nullptr;  // [kv_heads, queries]
  int64_t queries = 0;          // query heads of a KV head
  int64_t head_dim = 0;
  float scale = 1.0f;
  int64_t sequence = 0;
  int64_t kv_head = 0;  // the first
  int64_t kv_heads = 0;
  int64_t first = 0;  // positions [first, last] are seen, one at least
  int64_t last = 0;
};

// Floats of scratch that a task takes.
int64_t AttentionScratch(int64_t kv_heads, int64_t queries);
// scratch: aligned to 64 bytes.
void AttendPart(const AttentionTask& task, const KvRows& keys, const KvRows& values, float* scratch);

// Of one query, [head_dim]: adds what another part of its positions came to.
void MergeAttention(const float* part, const SoftmaxSums& part_sums, int64_t head_dim, float* out, SoftmaxSums& sums);
// `out` becomes the attention's output.
void FinishAttention(const SoftmaxSums& sums, int64_t head_dim, float* out);

}  // namespace switchyard
