// Attention of one step on the fast CPU path: tiles of tokens where a sequence has several, else token by token.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/attention_items.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Keeps its scratch from call to call. One caller at a time.
class PagedAttentionRunner {
 public:
  // `pool` outlives this.
  explicit PagedAttentionRunner(ThreadPool& pool) : pool_(pool), scratch_(pool.max_workers()) {}

  // See Backend::PagedAttention. The result of a token does not depend on how the step is divided among threads. That
  // of a token that has others of its sequence beside it depends on what it sees only, not on which those are; by
  // itself it may differ in the last bits, as sums are ordered differently.
  void Run(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q, const KvPages& pages,
           TensorView out);

  // Floats that the scratch may grow to.
  static int64_t MaxScratch(const AttentionSpec& attention, int64_t max_context, int64_t num_threads);

 private:
  struct Step;

  void AttendTileItem(const Step& step, const AttentionItem& item, int worker);
  // slots: of the step's split tokens, or null.
  void AttendTokenItem(const Step& step, const AttentionItem& item, float* slots, int worker);
  static void MergeParts(const Step& step, const SplitToken& split, int64_t head, float* slots);

  ThreadPool& pool_;
  AttentionItems items_;
  std::vector<Scratch<float>> scratch_;  // of each worker
  Scratch<float> slots_;                 // [num_slots], parts of split tokens
};

}  // namespace switchyard
