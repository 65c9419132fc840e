// How one step's attention is divided among threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"

namespace switchyard {

// What one thread does at a time: a tile of tokens of one sequence (attention_tile.h) and one KV head, or one token,
// some KV heads and some parts of its context (attention.h).
struct AttentionItem {
  int64_t first_token = 0;
  int64_t tile_tokens = 0;  // 0: no tile but one token
  int64_t kv_head = 0;      // the first
  int64_t kv_heads = 1;
  // Of one token:
  int64_t part_begin = 0;  // by number
  int64_t part_end = 0;
  int64_t slot = 0;  // of a split token: where its one part's result goes
};

// A token whose parts were computed by several items, into slots that follow each other.
struct SplitToken {
  int64_t token;
  int64_t slot;
  int64_t parts;
};

class AttentionItems {
 public:
  // Items for each thread, so that one that is late or has a longer context holds nobody up for long.
  static constexpr int64_t kPerThread = 2;

  // Tokens that are alone of their sequence are split into parts only where there are too few of them for the threads:
  // parts read memory in longer runs than single heads do.
  void Assign(const AttentionSpec& attention, const AttentionIndex& index, int64_t num_threads);

  // Those that take long first.
  const std::vector<AttentionItem>& items() const { return items_; }
  const std::vector<SplitToken>& split_tokens() const { return split_tokens_; }
  int64_t num_slots() const { return num_slots_; }

  // The first position that `token` sees.
  static int64_t FirstSeen(const AttentionSpec& attention, const AttentionIndex& index, int64_t token);
  // Slots that Assign may ask for at most.
  static int64_t MaxSlots(int64_t max_context, int64_t num_threads);

 private:
  std::vector<AttentionItem> items_;
  std::vector<SplitToken> split_tokens_;
  int64_t num_slots_ = 0;
};

}  // namespace switchyard
