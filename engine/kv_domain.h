// The KV pages of one rank (or of all, where they hold the same sequences), and what sequences there share.
//
// Pages are entered in the prefix cache when the step that will fill them is planned: others in that very step may
// share them, since every layer writes the keys and values of all tokens before any attends to them. So what is entered
// is computed, at the latest, in the step under way.
//
// Not thread-safe: belongs to the scheduler.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/page_allocator.h"
#include "engine/page_hash.h"
#include "engine/prefix_cache.h"
#include "engine/sequence.h"

namespace switchyard {

class KvDomain {
 public:
  // `hash` null: nothing is shared. It is borrowed otherwise.
  KvDomain(int64_t num_pages, int64_t page_size, const PageHash* hash);

  int64_t num_free() const { return pages_.num_free(); }
  int64_t num_used() const { return pages_.num_used(); }

  // Pages that hold the beginning of a sequence without any.
  struct Match {
    std::vector<int32_t> pages;
    int64_t num_held = 0;  // of these: by others; sharing them takes no free page
  };
  // None for a sequence whose prompt is scored: every position's logits are wanted, computed the same way each time.
  // The last two tokens are never among them: what follows is to be drawn.
  Match FindPrefix(Sequence& sequence) const;
  // Gives the sequence these pages, and sets what it has computed.
  void Admit(Sequence& sequence, const Match& match);
  // The step that is planned brings the sequence to `num_tokens` computed ones: enters what will be full pages.
  void Enter(Sequence& sequence, int64_t num_tokens);
  // The sequence has failed: what it has computed is not to be found. Nor is what it shared, if its numbers were bad.
  void Forget(const Sequence& sequence);

 private:
  PagePrefix PrefixOf(Sequence& sequence, int64_t num_pages) const;

  const int64_t page_size_;
  const PageHash* const hash_;
  PageAllocator pages_;
  PrefixCache cache_;
};

}  // namespace switchyard
