// The `added_tokens` of tokenizer.json: tokens that are found in the text itself, before the model sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json/bpe_model.h"
#include "engine/text/tokenizer_json/normalizer.h"
#include "engine/text/tokenizer_json/string_map.h"

namespace switchyard::tokenizer_json {

// Finds the longest of a set of words at a place. Thread safety: immutable once filled.
class WordTrie {
 public:
  // An empty word is never found.
  void Add(std::string_view word, int32_t value);
  // Bytes matched at text[at] and the value; zero bytes where no word starts.
  struct Found {
    size_t size = 0;
    int32_t value = 0;
  };
  Found LongestAt(std::string_view text, size_t at) const;

 private:
  // (node, byte) -> node; the root is 0.
  static uint64_t Edge(uint32_t node, char byte) { return uint64_t{node} << 8 | static_cast<unsigned char>(byte); }

  absl::flat_hash_map<uint64_t, uint32_t> edges_;
  std::vector<int32_t> values_ = {-1};  // [node], -1: no word ends there
  bool starts_[256] = {};               // by a word's first byte
};

// Thread safety: immutable once filled.
class AddedVocabulary {
 public:
  // Ids are given as `tokenizers` gives them: the model's where it has the token, else the next behind both
  // vocabularies. A token added again replaces its flags. Without content it is ignored.
  void Add(const AddedToken& token, const BpeModel& model);
  // After the last Add.
  void Finish(const Normalizer& normalizer);

  struct Segment {
    std::string_view text;
    int32_t id = -1;  // -1: ordinary text
  };
  enum class Kind {
    kRaw,         // tokens that are looked for in the text as it came
    kNormalized,  // those that are looked for, normalised, in the normalised text
  };
  // Leftmost and longest, then lstrip, rstrip and single_word, as `tokenizers` does it. `parse_special` false: special
  // tokens stay text. Segments borrow `text`; none is empty.
  std::vector<Segment> Split(std::string_view text, Kind kind, bool parse_special) const;

  std::optional<int32_t> Find(std::string_view content) const;
  bool IsSpecial(std::string_view content) const { return special_.contains(content); }
  const absl::flat_hash_map<int32_t, AddedToken>& tokens() const { return tokens_; }

 private:
  absl::flat_hash_map<int32_t, AddedToken> tokens_;
  StringMap<int32_t> ids_;
  StringSet special_;
  int32_t max_id_ = -1;  // of tokens_
  WordTrie raw_;
  WordTrie normalized_;
};

}  // namespace switchyard::tokenizer_json
