#include "engine/text/tokenizer_json/added_vocabulary.h"

#include <algorithm>

#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

// Where the white space that ends at `end` begins.
size_t SkipSpacesBack(std::string_view text, size_t end) {
  while (end > 0) {
    const Character last = CharacterBefore(text, end);
    if (!IsWhiteSpace(last.code)) break;
    end -= last.size;
  }
  return end;
}

size_t SkipSpaces(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Character first = CharacterAt(text, begin);
    if (!IsWhiteSpace(first.code)) break;
    begin += first.size;
  }
  return begin;
}

bool StandsAlone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !IsWord(CharacterBefore(text, begin).code)) &&
         (end == text.size() || !IsWord(CharacterAt(text, end).code));
}

}  // namespace

void WordTrie::Add(std::string_view word, int32_t value) {
  if (word.empty()) return;
  starts_[static_cast<unsigned char>(word.front())] = true;
  uint32_t node = 0;
  for (const char byte : word) {
    const auto [edge, is_new] = edges_.try_emplace(Edge(node, byte), static_cast<uint32_t>(values_.size()));
    if (is_new) values_.push_back(-1);
    node = edge->second;
  }
  values_[node] = value;
}

WordTrie::Found WordTrie::LongestAt(std::string_view text, size_t at) const {
  Found found;
  if (!starts_[static_cast<unsigned char>(text[at])]) return found;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = edges_.find(Edge(node, text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (values_[node] >= 0) found = {i + 1 - at, values_[node]};
  }
  return found;
}

void AddedVocabulary::Add(const AddedToken& token, const BpeModel& model) {
  if (token.content.empty()) return;
  std::optional<int32_t> id = Find(token.content);
  if (!id) id = model.Find(token.content);
  if (!id) id = std::max(static_cast<int32_t>(model.vocabulary().size()), max_id_ + 1);
  max_id_ = std::max(max_id_, *id);
  if (token.special) special_.insert(token.content);
  ids_[token.content] = *id;
  tokens_[*id] = token;
  tokens_[*id].id = *id;
}

void AddedVocabulary::Finish(const Normalizer& normalizer) {
  for (const auto& [id, token] : tokens_) {
    if (!token.normalized) {
      raw_.Add(token.content, id);
      continue;
    }
    Stretch content{.text = token.content};
    normalizer.Apply(&content);
    normalized_.Add(content.text, id);
  }
}

std::optional<int32_t> AddedVocabulary::Find(std::string_view content) const {
  const auto found = ids_.find(content);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::vector<AddedVocabulary::Segment> AddedVocabulary::Split(std::string_view text, Kind kind,
                                                             bool parse_special) const {
  const WordTrie& trie = kind == Kind::kRaw ? raw_ : normalized_;
  std::vector<Segment> segments;
  size_t begin = 0;  // of the text behind the last token
  for (size_t i = 0; i < text.size();) {
    const WordTrie::Found found = trie.LongestAt(text, i);
    if (found.size == 0) {
      ++i;
      continue;
    }
    size_t start = i;
    size_t end = i + found.size;
    i = end;
    const AddedToken& token = tokens_.at(found.value);
    if (!parse_special && IsSpecial(token.content)) continue;
    if (token.single_word && !StandsAlone(text, start, end)) continue;
    // White space that went to the token before is gone.
    if (token.lstrip) start = std::max(SkipSpacesBack(text, start), begin);
    if (token.rstrip) end = SkipSpaces(text, end);
    if (begin < start) segments.push_back({.text = text.substr(begin, start - begin)});
    segments.push_back({.text = text.substr(start, end - start), .id = found.value});
    begin = end;
  }
  if (begin < text.size()) segments.push_back({.text = text.substr(begin)});
  return segments;
}

}  // namespace switchyard::tokenizer_json
