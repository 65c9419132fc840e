#include "engine/kv_domain.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {
namespace {

// Of a prompt: one whose logits are wanted, and another, since CPUs compute a token that is alone in its step in an
// order of its own. With two a step like any other prompt's follows, and its numbers are the same bits.
constexpr int64_t kMinComputed = 2;

}  // namespace

KvDomain::KvDomain(int64_t num_pages, int64_t page_size, const PageHash* hash)
    : page_size_(page_size),
      hash_(hash),
      pages_(num_pages, [this](int32_t page) { cache_.Forget(page); }),
      cache_(page_size, pages_) {}

PagePrefix KvDomain::PrefixOf(Sequence& sequence, int64_t num_pages) const {
  const std::string& salt = sequence.request().cache_salt;
  std::vector<uint64_t>& hashes = sequence.prefix.hashes;
  AppendPageHashes(*hash_, salt, sequence.tokens(), page_size_, num_pages, &hashes);
  return {.salt = salt,
          .tokens = sequence.tokens(),
          .hashes = std::span<const uint64_t>(hashes).first(static_cast<size_t>(num_pages))};
}

KvDomain::Match KvDomain::FindPrefix(Sequence& sequence) const {
  Match match;
  if (hash_ == nullptr || sequence.WantsScores()) return match;
  const auto num_tokens = static_cast<int64_t>(sequence.tokens().size());
  if (num_tokens <= kMinComputed) return match;
  match.pages = cache_.Find(PrefixOf(sequence, (num_tokens - kMinComputed) / page_size_));
  match.num_held =
      std::count_if(match.pages.begin(), match.pages.end(), [this](int32_t page) { return pages_.IsHeld(page); });
  return match;
}

void KvDomain::Admit(Sequence& sequence, const Match& match) {
  CHECK_EQ(sequence.pages.size(), 0);
  sequence.pages = PageLease(&pages_);
  sequence.pages.Share(match.pages);
  const int64_t num_pages = sequence.pages.size();
  sequence.num_computed = num_pages * page_size_;
  sequence.prefix.num_shared = sequence.prefix.num_entered = num_pages;
  sequence.prefix.is_closed = false;
}

void KvDomain::Enter(Sequence& sequence, int64_t num_tokens) {
  PrefixState& state = sequence.prefix;
  const int64_t num_pages = num_tokens / page_size_;
  if (hash_ == nullptr || state.is_closed || num_pages <= state.num_entered) return;
  const PagePrefix prefix = PrefixOf(sequence, num_pages);
  for (int64_t& i = state.num_entered; i < num_pages; ++i) {
    const std::span<const int32_t> pages = sequence.pages.pages();
    const int32_t own = pages[static_cast<size_t>(i)];
    const int32_t entered = cache_.Enter(prefix, i, i == 0 ? -1 : pages[static_cast<size_t>(i) - 1], own);
    if (entered == own) continue;
    // The same is on another page already. Scored prompts are computed the same way each time, from their own pages.
    state.is_closed = entered < 0 || sequence.WantsScores();
    if (state.is_closed) return;
    // This step will write the sequence's own page; the next finds it computed.
    if ((i + 1) * page_size_ > sequence.num_computed) return;
    sequence.pages.Replace(i, entered);
  }
}

void KvDomain::Forget(const Sequence& sequence) {
  const std::span<const int32_t> pages = sequence.pages.pages();
  const int64_t first = sequence.has_bad_numbers() ? 0 : sequence.prefix.num_shared;
  for (int64_t i = first; i < sequence.prefix.num_entered; ++i) cache_.Forget(pages[static_cast<size_t>(i)]);
}

}  // namespace switchyard
