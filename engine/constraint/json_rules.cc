#include "engine/constraint/json_rules.h"

#include "absl/strings/str_cat.h"
#include "engine/constraint/characters.h"
#include "engine/constraint/number_range.h"
#include "engine/constraint/regex.h"

namespace switchyard {
namespace {

// [0]: the sign and whole part; [1]: the rest of a number.
std::string WholePattern() { return absl::StrCat("-?(0|[1-9][0-9]{0,", kMaxWholeDigits - 1, "})"); }
std::string RestPattern() { return absl::StrCat("(\\.[0-9]{1,", kMaxFractionDigits, "})?([eE][+-]?[0-9]{1,2})?"); }

void AddPattern(std::string_view pattern, int32_t from, int32_t to, Automaton* automaton) {
  Embed(CompileRegex(pattern, RegexScope::kWhole, TextForm::kPlain, &automaton->budget()), from, to, automaton);
}

}  // namespace

int32_t JsonRules::Any() {
  if (any_.has_value()) return *any_;
  any_ = automaton_->AddRule();
  const int32_t start = automaton_->start(*any_);
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  for (const std::string_view name : {"true", "false", "null"}) {
    automaton_->AddEmpty(automaton_->AddText(start, name), end);
  }
  for (const int32_t rule : {String(), Number(), Object(), Array()}) automaton_->AddCall(start, rule, end);
  return *any_;
}

void JsonRules::AddList(char open, char close, int32_t unit_rule, int32_t from, int32_t to) {
  const int32_t first = automaton_->AddState();
  const int32_t behind = automaton_->AddState();
  automaton_->AddByte(from, open, first);
  automaton_->AddByte(first, close, to);
  automaton_->AddCall(first, unit_rule, behind);
  automaton_->AddByte(behind, close, to);
  automaton_->AddCall(AddSeparator(behind, ','), unit_rule, behind);
}

int32_t JsonRules::Object() {
  if (object_.has_value()) return *object_;
  object_ = automaton_->AddRule();
  const int32_t member = automaton_->AddRule();
  const int32_t name = automaton_->AddState();
  automaton_->AddCall(automaton_->start(member), String(), name);
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  automaton_->AddCall(AddSeparator(name, ':'), Any(), end);
  const int32_t object_end = automaton_->AddState();
  automaton_->SetFinal(object_end);
  AddList('{', '}', member, automaton_->start(*object_), object_end);
  return *object_;
}

int32_t JsonRules::Array() {
  if (array_.has_value()) return *array_;
  array_ = automaton_->AddRule();
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  AddList('[', ']', Any(), automaton_->start(*array_), end);
  return *array_;
}

int32_t JsonRules::String() {
  if (string_.has_value()) return *string_;
  string_ = automaton_->AddRule();
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  AddString(0, std::nullopt, automaton_->start(*string_), end);
  return *string_;
}

int32_t JsonRules::Number() {
  if (number_.has_value()) return *number_;
  number_ = automaton_->AddRule();
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  AddPattern(WholePattern() + RestPattern(), automaton_->start(*number_), end, automaton_);
  return *number_;
}

int32_t JsonRules::Integer() {
  if (integer_.has_value()) return *integer_;
  integer_ = automaton_->AddRule();
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  AddPattern(WholePattern(), automaton_->start(*integer_), end, automaton_);
  return *integer_;
}

int32_t JsonRules::LongCharacter() {
  if (long_character_.has_value()) return *long_character_;
  long_character_ = automaton_->AddRule();
  const int32_t end = automaton_->AddState();
  automaton_->SetFinal(end);
  Automaton all(&automaton_->budget());
  const int32_t start = all.AddState();
  const int32_t all_end = all.AddState();
  all.SetFinal(all_end);
  AddJsonCharacter(start, all_end, &all);
  ByteDfa dfa = Determinize(all, start);
  // What ends after one byte is left to the callers.
  if (!dfa.empty()) {
    std::erase_if(dfa.states[0].edges,
                  [&](const ByteEdge& edge) { return dfa.states[static_cast<size_t>(edge.target)].is_final; });
  }
  Embed(dfa, automaton_->start(*long_character_), end, automaton_);
  return *long_character_;
}

void JsonRules::AddString(int64_t min_length, std::optional<int64_t> max_length, int32_t from, int32_t to) {
  const auto add_character = [&](int32_t before, int32_t behind) {
    for (const auto& [low, high] :
         {std::pair(0x20, '"' - 1), std::pair('"' + 1, '\\' - 1), std::pair('\\' + 1, 0x7F)}) {
      automaton_->AddBytes(before, static_cast<uint8_t>(low), static_cast<uint8_t>(high), behind);
    }
    automaton_->AddCall(before, LongCharacter(), behind);
  };
  int32_t state = automaton_->AddState();
  automaton_->AddByte(from, '"', state);
  int64_t length = 0;
  const auto advance = [&] {
    const int32_t next = automaton_->AddState();
    add_character(state, next);
    state = next;
    ++length;
  };
  while (length < min_length && automaton_->budget().ok()) advance();
  automaton_->AddByte(state, '"', to);
  if (!max_length.has_value()) return add_character(state, state);
  while (length < *max_length && automaton_->budget().ok()) {
    advance();
    automaton_->AddByte(state, '"', to);
  }
}

void JsonRules::AddQuoted(const ByteDfa& content, int32_t from, int32_t to) {
  const int32_t open = automaton_->AddState();
  const int32_t close = automaton_->AddState();
  automaton_->AddByte(from, '"', open);
  Embed(content, open, close, automaton_);
  automaton_->AddByte(close, '"', to);
}

int32_t JsonRules::AddSeparator(int32_t from, char separator) {
  const int32_t behind = automaton_->AddState();
  const int32_t space = automaton_->AddState();
  const int32_t out = automaton_->AddState();
  automaton_->AddByte(from, separator, behind);
  automaton_->AddByte(behind, ' ', space);
  automaton_->AddEmpty(behind, out);
  automaton_->AddEmpty(space, out);
  return out;
}

ByteDfa CompileStringLengths(int64_t min_length, std::optional<int64_t> max_length, CompileBudget* budget) {
  Automaton automaton(budget);
  const int32_t start = automaton.AddState();
  int32_t state = start;
  int64_t length = 0;
  const auto advance = [&] {
    const int32_t next = automaton.AddState();
    AddJsonCharacter(state, next, &automaton);
    state = next;
    ++length;
  };
  while (length < min_length && budget->ok()) advance();
  automaton.SetFinal(state);
  if (!max_length.has_value()) AddJsonCharacter(state, state, &automaton);
  while (max_length.has_value() && length < *max_length && budget->ok()) {
    advance();
    automaton.SetFinal(state);
  }
  return budget->ok() ? Determinize(automaton, start) : ByteDfa();
}

ByteDfa CompilePlainStrings(CompileBudget* budget) {
  Automaton automaton(budget);
  const int32_t start = automaton.AddState();
  automaton.SetFinal(start);
  const CharacterSet escaped = {{'"', '"'}, {'\\', '\\'}};
  AddCharacters(escaped.VisibleComplement(), TextForm::kPlain, start, start, &automaton);
  return Determinize(automaton, start);
}

}  // namespace switchyard
