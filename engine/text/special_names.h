// Keeps the names of special tokens in what clients send apart from those that a template writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "engine/text/tokenizer.h"

namespace switchyard {

// Guard puts a byte that no UTF-8 text has behind the first character of each special token's name:
//   "a</s>b" -> "a<\xFF/s>b"
// The template copies it along; Encode then sees which names are the template's own. Thread safety: immutable.
class SpecialNames {
 public:
  explicit SpecialNames(const Tokenizer& tokenizer);

  std::string Guard(std::string_view text) const;
  // The tokens of a text with guarded parts. Without any, as the tokenizer encodes the whole; else text between two
  // special tokens is encoded as one (lstrip and rstrip of added tokens do not apply then).
  std::vector<int32_t> Encode(std::string_view text, const Tokenizer& tokenizer) const;

 private:
  // Bytes of the longest special token's name at the start of `text`; 0: none.
  size_t MatchAt(std::string_view text) const;

  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::unordered_set<std::string, Hash, std::equal_to<>> names_;
  std::vector<size_t> sizes_;  // of names, descending
  std::vector<bool> starts_;   // [256]: a name starts with that byte
};

}  // namespace switchyard
