#include "engine/constraint/regex.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

CharacterSet Digits() { return {{'0', '9'}}; }
CharacterSet WordCharacters() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
CharacterSet Spaces() { return {{'\t', '\r'}, {' ', ' '}}; }

// Reads the pattern and builds the automaton as it goes: every Parse function takes the state before its part and
// returns the one behind it. A part that is repeated by count is read again for each copy.
class RegexBuilder {
 public:
  RegexBuilder(std::string_view pattern, RegexScope scope, TextForm form, Automaton* automaton)
      : pattern_(pattern), scope_(scope), form_(form), automaton_(automaton) {}

  void Build(int32_t from, int32_t to) {
    do {
      const bool starts = Take('^');
      int32_t state = automaton_->AddState();
      automaton_->AddEmpty(from, state);
      if (!starts && scope_ == RegexScope::kSearch) AddAnyText(state);
      state = ParseSequence(state);
      const bool ends = Take('$');
      if (ends && !AtEnd() && Peek() != '|') return Refuse("$ before the end of an alternative");
      if (!ends && scope_ == RegexScope::kSearch) {
        const int32_t loop = automaton_->AddState();
        automaton_->AddEmpty(state, loop);
        AddAnyText(loop);
        state = loop;
      }
      automaton_->AddEmpty(state, to);
    } while (ok() && Take('|'));
    if (ok() && !AtEnd()) Refuse("unbalanced )");
  }

 private:
  bool ok() const { return automaton_->budget().ok(); }
  bool AtEnd() const { return place_ >= pattern_.size(); }
  char Peek() const { return AtEnd() ? '\0' : pattern_[place_]; }
  bool Take(char c) {
    if (AtEnd() || pattern_[place_] != c) return false;
    ++place_;
    return true;
  }
  bool TakeText(std::string_view text) {
    if (!pattern_.substr(place_).starts_with(text)) return false;
    place_ += text.size();
    return true;
  }
  void Refuse(const std::string& what) {
    automaton_->budget().Fail(absl::InvalidArgumentError(absl::StrCat(
        "pattern '", std::string(pattern_.substr(0, 80)), "': ", what, " at byte ", place_, " is unsupported")));
  }
  void AddAnyText(int32_t state) { AddCharacters(CharacterSet::Visible(), form_, state, state, automaton_); }

  int32_t ParseAlternatives(int32_t from) {
    if (++depth_ > automaton_->budget().limits().max_depth) Refuse("nesting this deep");
    const int32_t to = automaton_->AddState();
    do {
      const int32_t start = automaton_->AddState();
      automaton_->AddEmpty(from, start);
      automaton_->AddEmpty(ParseSequence(start), to);
    } while (ok() && Take('|'));
    --depth_;
    return to;
  }

  int32_t ParseSequence(int32_t state) {
    while (ok() && !AtEnd() && Peek() != '|' && Peek() != ')' && Peek() != '$') state = ParseRepeated(state);
    return state;
  }

  struct Repetition {
    int min = 1;
    std::optional<int> max = 1;
  };

  int32_t ParseRepeated(int32_t from) {
    const size_t begin = place_;
    const int64_t depth = depth_;
    const int32_t start = automaton_->AddState();  // of the first copy
    int32_t state = ParseAtom(start);
    const Repetition times = ok() ? ParseRepetition() : Repetition();
    if (!ok() || times.max == 0) return from;
    const size_t end = place_;
    const auto copy = [&](int32_t before) {
      place_ = begin;
      depth_ = depth;
      const int32_t behind = ParseAtom(before);
      place_ = end;
      return behind;
    };
    automaton_->AddEmpty(from, start);
    int32_t last_start = start;
    for (int i = 1; i < times.min && ok(); ++i) {
      last_start = automaton_->AddState();
      automaton_->AddEmpty(state, last_start);
      state = copy(last_start);
    }
    const int32_t out = automaton_->AddState();
    automaton_->AddEmpty(state, out);
    if (times.min == 0) automaton_->AddEmpty(from, out);
    if (!times.max.has_value()) automaton_->AddEmpty(state, last_start);
    for (int i = std::max(times.min, 1); i < times.max.value_or(0) && ok(); ++i) {
      state = copy(state);
      automaton_->AddEmpty(state, out);
    }
    return out;
  }

  std::optional<int> TakeNumber() {
    int number = 0;
    const char* begin = pattern_.data() + place_;
    const auto [end, error] = std::from_chars(begin, pattern_.data() + pattern_.size(), number);
    if (error != std::errc() || number < 0) return std::nullopt;
    place_ += static_cast<size_t>(end - begin);
    return number;
  }

  Repetition ParseRepetition() {
    Repetition times;
    if (Take('*')) {
      times = {0, std::nullopt};
    } else if (Take('+')) {
      times = {1, std::nullopt};
    } else if (Take('?')) {
      times = {0, 1};
    } else if (Take('{')) {
      const std::optional<int> min = TakeNumber();
      if (!min.has_value()) {
        Refuse("{ without a count (write \\{ for the character)");
        return times;
      }
      times = {*min, *min};
      if (Take(',')) times.max = TakeNumber();
      if (!Take('}') || (times.max.has_value() && *times.max < times.min)) Refuse("this repetition count");
    } else {
      return times;
    }
    Take('?');  // lazy: the same texts
    if (Peek() == '*' || Peek() == '+' || Peek() == '{') Refuse("a repetition of a repetition");
    return times;
  }

  int32_t ParseAtom(int32_t from) {
    if (Take('(')) return ParseGroup(from);
    CharacterSet set;
    if (Take('[')) {
      set = ParseClass();
    } else if (Take('.')) {
      set = CharacterSet::Visible();
    } else if (Take('\\')) {
      set = ParseEscape(/*in_class=*/false);
    } else if (Peek() == '^' || Peek() == '*' || Peek() == '+' || Peek() == '?' || Peek() == '{') {
      Refuse(absl::StrCat(std::string(1, Peek()), " in this place"));
    } else {
      set = TakeLiteral();
    }
    const int32_t to = automaton_->AddState();
    if (ok()) AddCharacters(set, form_, from, to, automaton_);
    return to;
  }

  int32_t ParseGroup(int32_t from) {
    if (Peek() == '?' && !TakeText("?:")) {
      Refuse("(?, that is lookaround, a named group or a flag,");
      return from;
    }
    const int32_t to = ParseAlternatives(from);
    if (ok() && Peek() == '$') Refuse("$ inside of a group");
    if (ok() && !Take(')')) Refuse("a group without its )");
    return to;
  }

  CharacterSet TakeLiteral() {
    size_t size = 0;
    const uint32_t character = FirstCharacter(pattern_.substr(place_), &size);
    place_ += size;
    return {{character, character}};
  }

  uint32_t TakeHex(size_t digits) {
    uint32_t value = 0;
    const std::string_view text = pattern_.substr(place_, digits);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (text.size() < digits || error != std::errc() || end != text.data() + text.size()) Refuse("this \\x or \\u");
    place_ += text.size();
    return value;
  }

  // Behind the backslash.
  CharacterSet ParseEscape(bool in_class) {
    const auto one = [](uint32_t c) { return CharacterSet{{c, c}}; };
    if (AtEnd()) {
      Refuse("a lone backslash");
      return {};
    }
    const char c = pattern_[place_++];
    switch (c) {
      case 'd':
        return Digits();
      case 'D':
        return Digits().VisibleComplement();
      case 'w':
        return WordCharacters();
      case 'W':
        return WordCharacters().VisibleComplement();
      case 's':
        return Spaces();
      case 'S':
        return Spaces().VisibleComplement();
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(TakeHex(2));
      case 'u':
        return one(TakeHex(4));
      default:
        break;
    }
    if (in_class && c == 'b') return one('\b');
    const bool is_alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (is_alnum) {
      Refuse(absl::StrCat("\\", std::string(1, c)));
      return {};
    }
    --place_;
    return TakeLiteral();
  }

  // Behind the [.
  CharacterSet ParseClass() {
    const bool negated = Take('^');
    CharacterSet set;
    while (ok() && !AtEnd() && Peek() != ']') {
      CharacterSet item = Take('\\') ? ParseEscape(/*in_class=*/true) : TakeLiteral();
      const bool is_range = Peek() == '-' && place_ + 1 < pattern_.size() && pattern_[place_ + 1] != ']';
      if (is_range && ok()) {
        ++place_;
        const CharacterSet last = Take('\\') ? ParseEscape(/*in_class=*/true) : TakeLiteral();
        if (!ok()) return set;
        const auto is_single = [](const CharacterSet& s) {
          return s.ranges().size() == 1 && s.ranges()[0].low == s.ranges()[0].high;
        };
        if (!is_single(item) || !is_single(last) || item.ranges()[0].low > last.ranges()[0].low) {
          Refuse("this range of characters");
          return set;
        }
        item = CharacterSet{{item.ranges()[0].low, last.ranges()[0].low}};
      }
      set.Add(item);
    }
    if (ok() && !Take(']')) Refuse("a class without its ]");
    return negated ? set.VisibleComplement() : set;
  }

  const std::string_view pattern_;
  const RegexScope scope_;
  const TextForm form_;
  Automaton* const automaton_;
  size_t place_ = 0;
  int64_t depth_ = 0;
};

}  // namespace

ByteDfa CompileRegex(std::string_view pattern, RegexScope scope, TextForm form, CompileBudget* budget) {
  if (pattern.size() > static_cast<size_t>(budget->limits().max_bytes)) {
    budget->Fail(absl::InvalidArgumentError(
        absl::StrCat("the pattern has ", pattern.size(), " bytes; the limit is ", budget->limits().max_bytes)));
    return {};
  }
  Automaton automaton(budget);
  const int32_t start = automaton.AddState();
  const int32_t end = automaton.AddState();
  automaton.SetFinal(end);
  RegexBuilder(pattern, scope, form, &automaton).Build(start, end);
  return budget->ok() ? Determinize(automaton, start) : ByteDfa();
}

}  // namespace switchyard
