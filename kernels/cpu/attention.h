// Paged attention of one token and one KV head, on one thread.
//
// Online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867): keys are taken block by block; where a block raises
// the largest score, what was summed so far is scaled down. All query heads of a KV head share its loads. 8-bit
// elements are widened in registers; their scales meet scores and weights, not elements.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/kv_rows.h"

namespace switchyard {

struct AttentionTask {
  const float* q = nullptr;  // [queries, head_dim], the query heads of one KV head
  float* out = nullptr;      // same
  int64_t queries = 0;
  int64_t head_dim = 0;
  float scale = 1.0f;
  int64_t sequence = 0;
  int64_t kv_head = 0;
  int64_t first = 0;  // positions [first, last] are seen
  int64_t last = 0;
};

void AttendOneToken(const AttentionTask& task, const KvRows& keys, const KvRows& values);

}  // namespace switchyard
