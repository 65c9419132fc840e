// JSON values without a schema, as rules of an automaton, made when they are first asked for.
//
// Between tokens of JSON there is no white space but one optional space after ':' and ',': a model that likes blanks
// cannot lose itself in them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/constraint/automaton.h"
#include "engine/constraint/byte_dfa.h"

namespace switchyard {

class JsonRules {
 public:
  // `automaton` is borrowed.
  explicit JsonRules(Automaton* automaton) : automaton_(automaton) {}

  int32_t Any();
  int32_t Object();  // of any members
  int32_t Array();   // of any items
  int32_t String();
  int32_t Number();
  int32_t Integer();

  // The parts that schemas are made of: edges from `from` to `to`.
  void AddString(int64_t min_length, std::optional<int64_t> max_length, int32_t from, int32_t to);
  void AddQuoted(const ByteDfa& content, int32_t from, int32_t to);
  // ',' and ':' with the optional space; the states behind them.
  int32_t AddSeparator(int32_t from, char separator);

 private:
  // Zero or more `unit`s, divided by commas, between the brackets.
  void AddList(char open, char close, int32_t unit_rule, int32_t from, int32_t to);
  // A character that takes more than one byte.
  int32_t LongCharacter();

  Automaton* const automaton_;
  std::optional<int32_t> any_, object_, array_, string_, number_, integer_, long_character_;
};

// Contents of JSON strings of so many characters, in any spelling: to be intersected with patterns.
ByteDfa CompileStringLengths(int64_t min_length, std::optional<int64_t> max_length, CompileBudget* budget);
// Contents of JSON strings that are spelled without a backslash.
ByteDfa CompilePlainStrings(CompileBudget* budget);

}  // namespace switchyard
