// Attention of one step on the fast CPU path: tiles of tokens where a sequence has several, else token by token.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Keeps its scratch from call to call. One caller at a time.
class PagedAttentionRunner {
 public:
  // `pool` outlives this.
  explicit PagedAttentionRunner(ThreadPool& pool) : pool_(pool), scratch_(pool.max_workers()) {}

  // See Backend::PagedAttention. Work is divided over tiles and KV heads together. The result of a token that has
  // others of its sequence beside it depends on what it sees only, not on which those are; by itself it may differ in
  // the last bits, as sums are ordered differently.
  void Run(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q, const KvPages& pages,
           TensorView out);

 private:
  struct Span {
    int64_t first_token;
    int64_t tokens;
    bool is_tile;  // false: one token, for the kernel of single tokens
  };

  // Divides the tokens of each sequence.
  void Assign(const AttentionIndex& index, int64_t queries);

  ThreadPool& pool_;
  std::vector<Span> spans_;
  std::vector<Scratch<float>> scratch_;  // of each worker
};

}  // namespace switchyard
