#include "engine/constraint/characters.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace switchyard {
namespace {

constexpr uint32_t kLastCharacter = 0x10FFFF;
constexpr uint32_t kFirstSurrogate = 0xD800;
constexpr uint32_t kLastSurrogate = 0xDFFF;

std::string Utf8(uint32_t c) {
  const auto byte = [](uint32_t value) { return static_cast<char>(value); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F))};
  if (c < 0x10000) return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F))};
  return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F))};
}

// A range of characters whose spellings have equal lengths and, all but the last differing byte, free tails.
void AddBlock(uint32_t low, uint32_t high, int32_t from, int32_t to, Automaton* automaton) {
  const std::string first = Utf8(low);
  const std::string last = Utf8(high);
  for (size_t i = 0; i < first.size(); ++i) {
    const int32_t next = i + 1 == first.size() ? to : automaton->AddState();
    automaton->AddBytes(from, static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i]), next);
    from = next;
  }
}

// Divides a range until each part is one sequence of byte ranges.
void AddUtf8(uint32_t low, uint32_t high, int32_t from, int32_t to, Automaton* automaton) {
  for (const uint32_t last_of_length : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (low > last_of_length || high <= last_of_length) continue;
    AddUtf8(low, last_of_length, from, to, automaton);
    return AddUtf8(last_of_length + 1, high, from, to, automaton);
  }
  for (int bits = 6; high >= 0x80 && bits <= 18; bits += 6) {
    const uint32_t tail = (1u << bits) - 1;
    if ((low & ~tail) == (high & ~tail)) break;
    if ((low & tail) != 0) {
      AddUtf8(low, low | tail, from, to, automaton);
      return AddUtf8((low | tail) + 1, high, from, to, automaton);
    }
    if ((high & tail) != tail) {
      AddUtf8(low, (high & ~tail) - 1, from, to, automaton);
      return AddUtf8(high & ~tail, high, from, to, automaton);
    }
  }
  AddBlock(low, high, from, to, automaton);
}

bool NeedsEscape(uint32_t c) { return c < 0x20 || c == '"' || c == '\\'; }

// \uXXXX for one hexadecimal digit after another; each is given as ranges of its bytes.
int32_t AddHex(int32_t from, std::initializer_list<std::string_view> digits, Automaton* automaton) {
  for (const std::string_view ranges : digits) {
    const int32_t next = automaton->AddState();
    for (size_t i = 0; i + 1 < ranges.size(); i += 2) {
      automaton->AddBytes(from, static_cast<uint8_t>(ranges[i]), static_cast<uint8_t>(ranges[i + 1]), next);
    }
    from = next;
  }
  return from;
}

}  // namespace

CharacterSet::CharacterSet(std::initializer_list<Range> ranges) {
  for (const Range& range : ranges) Add(range);
}

CharacterSet CharacterSet::Visible() { return {{0x20, kLastCharacter}}; }

void CharacterSet::Add(Range range) {
  if (range.low < kFirstSurrogate && range.high >= kFirstSurrogate) Add(Range{range.low, kFirstSurrogate - 1});
  if (range.high >= kFirstSurrogate && range.low <= kLastSurrogate) range.low = kLastSurrogate + 1;
  if (range.low > range.high) return;
  ranges_.push_back(range);
  std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) { return a.low < b.low; });
  std::vector<Range> merged;
  for (const Range& next : ranges_) {
    if (!merged.empty() && next.low <= merged.back().high + 1) {
      merged.back().high = std::max(merged.back().high, next.high);
    } else {
      merged.push_back(next);
    }
  }
  ranges_ = std::move(merged);
}

void CharacterSet::Add(const CharacterSet& other) {
  for (const Range& range : other.ranges_) Add(range);
}

CharacterSet CharacterSet::VisibleComplement() const {
  CharacterSet rest;
  uint32_t next = 0x20;
  for (const Range& range : ranges_) {
    if (range.low > next) rest.Add(Range{next, range.low - 1});
    next = std::max(next, range.high + 1);
  }
  rest.Add(Range{next, kLastCharacter});
  return rest;
}

std::string Spell(uint32_t character, TextForm form) {
  if (form == TextForm::kPlain || !NeedsEscape(character)) return Utf8(character);
  switch (character) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return absl::StrFormat("\\u%04x", character);
  }
}

std::string Spell(std::string_view text, TextForm form) {
  std::string spelled;
  while (!text.empty()) {
    size_t size = 0;
    spelled += Spell(FirstCharacter(text, &size), form);
    text.remove_prefix(size);
  }
  return spelled;
}

void AddCharacters(const CharacterSet& set, TextForm form, int32_t from, int32_t to, Automaton* automaton) {
  for (const CharacterSet::Range& range : set.ranges()) {
    if (form == TextForm::kPlain) {
      AddUtf8(range.low, range.high, from, to, automaton);
      continue;
    }
    uint32_t next = range.low;
    const uint32_t last_escaped = '\\';
    for (uint32_t c = range.low; c <= std::min(range.high, last_escaped); ++c) {
      if (!NeedsEscape(c)) continue;
      if (c > next) AddUtf8(next, c - 1, from, to, automaton);
      automaton->AddEmpty(automaton->AddText(from, Spell(c, form)), to);
      next = c + 1;
    }
    if (next <= range.high) AddUtf8(next, range.high, from, to, automaton);
  }
}

void AddJsonCharacter(int32_t from, int32_t to, Automaton* automaton) {
  CharacterSet plain({{'"', '"'}, {'\\', '\\'}});
  AddCharacters(plain.VisibleComplement(), TextForm::kPlain, from, to, automaton);
  const int32_t escape = automaton->AddText(from, "\\");
  for (const char c : std::string_view("\"\\/bfnrt")) automaton->AddByte(escape, c, to);
  constexpr std::string_view kHex = "09afAF";
  const auto end = [&](int32_t state) { automaton->AddEmpty(state, to); };
  const int32_t unicode = automaton->AddText(escape, "u");
  end(AddHex(unicode, {"09acAC", kHex, kHex, kHex}, automaton));
  end(AddHex(unicode, {"efEF", kHex, kHex, kHex}, automaton));
  end(AddHex(unicode, {"ddDD", "07", kHex, kHex}, automaton));
  const int32_t high = AddHex(unicode, {"ddDD", "89abAB", kHex, kHex}, automaton);
  end(AddHex(automaton->AddText(high, "\\u"), {"ddDD", "cfCF", kHex, kHex}, automaton));
}

uint32_t FirstCharacter(std::string_view text, size_t* size) {
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
  *size = 1;
  if (length == 1 || length > text.size()) return first;
  uint32_t character = first & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if ((byte & 0xC0u) != 0x80u) return first;
    character = character << 6 | (byte & 0x3Fu);
  }
  *size = length;
  return character;
}

}  // namespace switchyard
