#include "engine/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace switchyard {

void AppendPageHashes(const PageHash& hash, std::string_view salt, std::span<const int32_t> tokens, int64_t page_size,
                      int64_t num_pages, std::vector<uint64_t>* hashes) {
  CHECK_LE(num_pages * page_size, static_cast<int64_t>(tokens.size()));
  while (static_cast<int64_t>(hashes->size()) < num_pages) {
    const uint64_t before = hashes->empty() ? hash(0, std::as_bytes(std::span(salt))) : hashes->back();
    const auto page = tokens.subspan(hashes->size() * static_cast<size_t>(page_size), static_cast<size_t>(page_size));
    hashes->push_back(hash(before, std::as_bytes(page)));
  }
}

PrefixCache::PrefixCache(int64_t page_size, PageAllocator& pages)
    : page_size_(page_size), pages_(pages), entries_(static_cast<size_t>(pages.num_pages())) {
  CHECK_GT(page_size, 0);
}

std::span<const int32_t> PrefixCache::TokensOf(const PagePrefix& prefix, int64_t index) const {
  return prefix.tokens.subspan(static_cast<size_t>(index * page_size_), static_cast<size_t>(page_size_));
}

bool PrefixCache::Holds(const Entry& entry, const PagePrefix& prefix, int64_t index, uint64_t previous_id) const {
  const std::span<const int32_t> tokens = TokensOf(prefix, index);
  return entry.previous_id == previous_id && (index > 0 || entry.salt == prefix.salt) &&
         std::equal(tokens.begin(), tokens.end(), entry.tokens.begin(), entry.tokens.end());
}

bool PrefixCache::IsLost(const Entry& entry) const {
  if (entry.previous_id == 0) return false;
  const Entry* previous = EntryOf(entry.previous_page);
  return previous == nullptr || previous->id != entry.previous_id;
}

std::vector<int32_t> PrefixCache::Find(const PagePrefix& prefix) const {
  std::vector<int32_t> pages;
  uint64_t previous_id = 0;
  for (size_t i = 0; i < prefix.hashes.size(); ++i) {
    const auto found = page_of_hash_.find(prefix.hashes[i]);
    if (found == page_of_hash_.end()) break;
    const Entry& entry = *EntryOf(found->second);
    if (!Holds(entry, prefix, static_cast<int64_t>(i), previous_id)) break;
    previous_id = entry.id;
    pages.push_back(found->second);
  }
  return pages;
}

int32_t PrefixCache::Enter(const PagePrefix& prefix, int64_t index, int32_t previous, int32_t page) {
  CHECK(index >= 0 && static_cast<size_t>(index) < prefix.hashes.size());
  CHECK_EQ(index == 0, previous < 0);
  const Entry* previous_entry = previous < 0 ? nullptr : EntryOf(previous);
  if (previous >= 0 && previous_entry == nullptr) return -1;
  const uint64_t previous_id = previous < 0 ? 0 : previous_entry->id;
  const uint64_t hash = prefix.hashes[static_cast<size_t>(index)];
  if (const auto found = page_of_hash_.find(hash); found != page_of_hash_.end()) {
    const Entry& entry = *EntryOf(found->second);
    if (Holds(entry, prefix, index, previous_id)) return found->second;
    if (!IsLost(entry)) return -1;
    Forget(found->second);
  }
  // Not under another hash as well: a page is entered once, by the sequence that computes it.
  CHECK(EntryOf(page) == nullptr);
  const std::span<const int32_t> tokens = TokensOf(prefix, index);
  auto entry = std::make_unique<Entry>();
  entry->hash = hash;
  entry->id = ++num_ids_;
  entry->previous_id = previous_id;
  entry->previous_page = previous;
  if (index == 0) entry->salt = std::string(prefix.salt);
  entry->tokens.assign(tokens.begin(), tokens.end());
  entries_[static_cast<size_t>(page)] = std::move(entry);
  page_of_hash_.emplace(hash, page);
  pages_.Keep(page);
  return page;
}

void PrefixCache::Forget(int32_t page) {
  const std::unique_ptr<Entry> entry = std::move(entries_[static_cast<size_t>(page)]);
  if (entry == nullptr) return;
  page_of_hash_.erase(entry->hash);
  pages_.Drop(page);
}

}  // namespace switchyard
