// Sets of Unicode characters, and the bytes that stand for them in a text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/automaton.h"

namespace switchyard {

enum class TextForm {
  kPlain,
  // Inside of a JSON string, each character in one way only: as itself, '"' and '\' behind a backslash, control
  // characters as \n, \t, ... or \u00XX.
  kJsonString,
};

// Thread safety: values.
class CharacterSet {
 public:
  struct Range {
    uint32_t low = 0;
    uint32_t high = 0;  // inclusive
  };

  CharacterSet() = default;
  CharacterSet(std::initializer_list<Range> ranges);
  // All but control characters (U+0000 to U+001F).
  static CharacterSet Visible();

  void Add(Range range);
  void Add(const CharacterSet& other);
  // Of the visible characters those that are not in here: a generated text has no control character that nobody named.
  CharacterSet VisibleComplement() const;
  bool empty() const { return ranges_.empty(); }
  // Ascending, disjoint, without surrogates.
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

// Edges from `from` to `to` for every character of the set.
void AddCharacters(const CharacterSet& set, TextForm form, int32_t from, int32_t to, Automaton* automaton);
// A character as AddCharacters spells it.
std::string Spell(uint32_t character, TextForm form);
std::string Spell(std::string_view text, TextForm form);
// Every way in which a JSON string may spell a character, "\u00e9" and surrogate pairs among them.
void AddJsonCharacter(int32_t from, int32_t to, Automaton* automaton);

// The first character of a text that is not empty, and its bytes; a byte that starts no character stands for itself.
uint32_t FirstCharacter(std::string_view text, size_t* size);

}  // namespace switchyard
