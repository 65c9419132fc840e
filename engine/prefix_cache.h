// Which KV pages hold the keys and values of which tokens, so that a prompt that begins like an earlier one need not be
// computed from its beginning.
//
// An entry is a full page: its token ids, and the entry of the page before it. An entry is found by a keyed hash of all
// tokens from the beginning of the text, and taken only if its own tokens, its predecessor and at the beginning the
// salt are what they should be: a collision hides a page, it never gives one for another.
//
// Entries outlive the sequences that made them. A page that nobody holds stays until it is needed (PageAllocator);
// whoever holds a page holds those before it, too, so that of a chain the end goes first.
//
// Not thread-safe: belongs to the scheduler. One for each KV domain: pages of different ranks have nothing in common.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/page_allocator.h"
#include "engine/page_hash.h"

namespace switchyard {

// The beginning of a sequence, in whole pages.
struct PagePrefix {
  std::string_view salt;
  std::span<const int32_t> tokens;
  std::span<const uint64_t> hashes;  // by AppendPageHashes; [at most tokens / page size]
};

// Hashes the pages from hashes->size() to `num_pages`, each together with all before it.
void AppendPageHashes(const PageHash& hash, std::string_view salt, std::span<const int32_t> tokens, int64_t page_size,
                      int64_t num_pages, std::vector<uint64_t>* hashes);

class PrefixCache {
 public:
  // `pages` outlives this, and reports evictions to Forget.
  PrefixCache(int64_t page_size, PageAllocator& pages);

  // The pages that hold the beginning of `prefix`, as many of its hashed ones as there are without a gap.
  std::vector<int32_t> Find(const PagePrefix& prefix) const;

  // Page `index` of `prefix` is in `page`, which is held; the one before it is in `previous` (-1 for the first), held
  // as well. From now on Find gives `page`, and it is kept. Returns `page`; or the page that has the same contents
  // already; or -1 if there is no room under its hash, or `previous` is not entered any more.
  int32_t Enter(const PagePrefix& prefix, int64_t index, int32_t previous, int32_t page);

  // The page's contents are gone or not to be trusted; ignored where it has no entry. It is no longer kept.
  void Forget(int32_t page);

  int64_t num_entries() const { return static_cast<int64_t>(page_of_hash_.size()); }

 private:
  struct Entry {
    uint64_t hash = 0;
    uint64_t id = 0;           // never used again, so that nothing can take the place of a predecessor that is gone
    uint64_t previous_id = 0;  // 0: none
    int32_t previous_page = -1;
    std::string salt;  // of a chain's first entry
    std::vector<int32_t> tokens;
  };

  std::span<const int32_t> TokensOf(const PagePrefix& prefix, int64_t index) const;
  const Entry* EntryOf(int32_t page) const { return entries_[static_cast<size_t>(page)].get(); }
  bool Holds(const Entry& entry, const PagePrefix& prefix, int64_t index, uint64_t previous_id) const;
  // Its predecessor is gone: nothing will ever find it.
  bool IsLost(const Entry& entry) const;

  const int64_t page_size_;
  PageAllocator& pages_;
  uint64_t num_ids_ = 0;
  std::vector<std::unique_ptr<Entry>> entries_;         // [pages]
  std::unordered_map<uint64_t, int32_t> page_of_hash_;  // of every entry
};

}  // namespace switchyard
