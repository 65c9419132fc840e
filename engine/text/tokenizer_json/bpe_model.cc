#include "engine/text/tokenizer_json/bpe_model.h"

#include <algorithm>
#include <utility>

#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

constexpr size_t kNumDirectCharacters = 0x800;
constexpr size_t kMaxCachedWordBytes = 64;
constexpr size_t kMaxCachedWords = 1 << 16;

// The first candidate is the one of the lowest rank, of these the leftmost.
constexpr auto kComesLater = [](const auto& a, const auto& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
};

}  // namespace

void BpeModel::Encode(std::string_view piece, Scratch* scratch, std::vector<int32_t>* ids) const {
  if (piece.empty()) return;
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = Find(piece)) {
      ids->push_back(*id);
      return;
    }
  }
  const bool is_word = piece.size() <= kMaxCachedWordBytes;
  if (is_word) {
    if (const auto known = scratch->cache.find(piece); known != scratch->cache.end()) {
      const auto [begin, end] = known->second;
      for (size_t i = begin; i < end; ++i) ids->push_back(scratch->cached_ids[i]);
      return;
    }
  }
  Spell(piece, scratch);
  MergeAll(scratch);
  const size_t begin = ids->size();
  for (const Scratch::Symbol& symbol : scratch->symbols) {
    if (!symbol.merged) ids->push_back(symbol.id);
  }
  if (is_word && scratch->cache.size() < kMaxCachedWords) {
    const size_t cached = scratch->cached_ids.size();
    scratch->cached_ids.insert(scratch->cached_ids.end(), ids->begin() + static_cast<ptrdiff_t>(begin), ids->end());
    scratch->cache.try_emplace(piece, cached, scratch->cached_ids.size());
  }
}

std::optional<int32_t> BpeModel::Find(std::string_view token) const {
  const auto found = vocabulary_.find(token);
  if (found == vocabulary_.end()) return std::nullopt;
  return found->second;
}

int32_t BpeModel::CharacterId(std::string_view character, bool is_first, bool is_last, Scratch* scratch) const {
  const bool has_prefix = !is_first && !subword_prefix_.empty();
  const bool has_suffix = is_last && !word_suffix_.empty();
  if (has_prefix || has_suffix) {
    scratch->name.clear();
    if (has_prefix) scratch->name += subword_prefix_;
    scratch->name += character;
    if (has_suffix) scratch->name += word_suffix_;
    return Find(scratch->name).value_or(-1);
  }
  if (const char32_t code = CharacterAt(character, 0).code; code < kNumDirectCharacters) {
    return ids_of_characters_[code];
  }
  return Find(character).value_or(-1);
}

void BpeModel::Spell(std::string_view piece, Scratch* scratch) const {
  scratch->symbols.clear();
  const auto add = [scratch](int32_t id) {
    const auto position = static_cast<int32_t>(scratch->symbols.size());
    scratch->symbols.push_back({.id = id, .previous = position - 1, .next = position + 1});
  };
  bool has_unknown = false;  // not yet added
  for (size_t i = 0; i < piece.size();) {
    const size_t size = CharacterAt(piece, i).size;
    const std::string_view character = piece.substr(i, size);
    const bool is_first = i == 0;
    i += size;
    const bool is_last = i == piece.size();
    if (const int32_t id = CharacterId(character, is_first, is_last, scratch); id >= 0) {
      if (std::exchange(has_unknown, false)) add(*unk_id_);
      add(id);
      continue;
    }
    if (byte_fallback_) {
      // Bytes of the prefix and suffix too.
      const bool is_bare = (is_first || subword_prefix_.empty()) && (!is_last || word_suffix_.empty());
      const std::string_view bytes = is_bare ? character : std::string_view(scratch->name);
      const auto id_of = [this](char byte) { return ids_of_bytes_[static_cast<unsigned char>(byte)]; };
      if (std::ranges::all_of(bytes, [&](char byte) { return id_of(byte) >= 0; })) {
        for (const char byte : bytes) add(id_of(byte));
        continue;  // before an unknown token that waits, as in `tokenizers`
      }
    }
    if (!unk_id_) continue;
    if (has_unknown && !fuse_unk_) add(*unk_id_);
    has_unknown = true;
  }
  if (has_unknown) add(*unk_id_);
  if (!scratch->symbols.empty()) scratch->symbols.back().next = -1;
}

void BpeModel::Offer(int32_t left, Scratch* scratch) const {
  const int32_t right = scratch->symbols[left].next;
  const auto merge = merges_.find(PairOf(scratch->symbols[left].id, scratch->symbols[right].id));
  if (merge == merges_.end()) return;
  scratch->queue.push_back({.rank = merge->second.rank, .position = left, .id = merge->second.id});
}

void BpeModel::MergeAll(Scratch* scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch->symbols;
  std::vector<Scratch::Candidate>& queue = scratch->queue;
  queue.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) Offer(static_cast<int32_t>(i), scratch);
  std::make_heap(queue.begin(), queue.end(), kComesLater);
  const auto offer = [&](int32_t left) {
    const size_t size = queue.size();
    Offer(left, scratch);
    if (queue.size() > size) std::push_heap(queue.begin(), queue.end(), kComesLater);
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), kComesLater);
    const Scratch::Candidate best = queue.back();
    queue.pop_back();
    Scratch::Symbol& left = symbols[best.position];
    if (left.merged || left.next < 0) continue;
    Scratch::Symbol& right = symbols[left.next];
    // A candidate is out of date unless what stands there now makes the same token.
    const auto merge = merges_.find(PairOf(left.id, right.id));
    if (merge == merges_.end() || merge->second.id != best.id) continue;
    left.id = best.id;
    left.next = right.next;
    right.merged = true;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    if (left.previous >= 0) offer(left.previous);
    if (left.next >= 0) offer(best.position);
  }
}

}  // namespace switchyard::tokenizer_json
