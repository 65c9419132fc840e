#include "engine/text/jinja/text.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"

namespace switchyard::jinja {
namespace {

// Bytes of the character at the start of `text`, which is not empty.
size_t CharacterSize(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t size = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (size > text.size()) return 1;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return size;
}

bool Holds(std::optional<std::string_view> characters, std::string_view character) {
  if (!characters) return character.size() == 1 && IsSpace(character[0]);
  return characters->find(character) != std::string_view::npos;
}

std::vector<std::string_view> SplitSpace(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  for (text = StripLeft(text); !text.empty(); text = StripLeft(text)) {
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(StripRight(text));
      break;
    }
    const size_t end = std::find_if(text.begin(), text.end(), IsSpace) - text.begin();
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> SplitSpaceFromRight(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  for (text = StripRight(text); !text.empty(); text = StripRight(text)) {
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(StripLeft(text));
      break;
    }
    const size_t size = std::find_if(text.rbegin(), text.rend(), IsSpace) - text.rbegin();
    parts.push_back(text.substr(text.size() - size));
    text.remove_suffix(size);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)) || (c >= '\x1C' && c <= '\x1F'); }

std::string_view StripLeft(std::string_view text, std::optional<std::string_view> characters) {
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (!Holds(characters, text.substr(0, size))) break;
    text.remove_prefix(size);
  }
  return text;
}

std::string_view StripRight(std::string_view text, std::optional<std::string_view> characters) {
  while (!text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (CharacterSize(text.substr(begin)) != text.size() - begin) begin = text.size() - 1;
    if (!Holds(characters, text.substr(begin))) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> characters;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    characters.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return characters;
}

int64_t NumCharacters(std::string_view text) {
  int64_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(CharacterSize(text));
  return count;
}

std::vector<std::string_view> Split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t max_splits, bool from_right) {
  if (!separator) return from_right ? SplitSpaceFromRight(text, max_splits) : SplitSpace(text, max_splits);
  std::vector<std::string_view> parts;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t found = from_right ? text.rfind(*separator) : text.find(*separator);
    if (found == std::string_view::npos) break;
    const std::string_view before = text.substr(0, found);
    const std::string_view behind = text.substr(found + separator->size());
    parts.push_back(from_right ? behind : before);
    text = from_right ? before : behind;
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string Replace(std::string_view text, std::string_view from, std::string_view to, int64_t count) {
  std::string result;
  if (from.empty()) {  // Python puts `to` before every character and at the end
    for (const std::string_view character : Characters(text)) {
      if (count-- != 0) result += to;
      count = std::max<int64_t>(count, -1);
      result += character;
    }
    if (count != 0) result += to;
    return result;
  }
  while (count != 0) {
    const size_t found = text.find(from);
    if (found == std::string_view::npos) break;
    result.append(text.substr(0, found)).append(to);
    text.remove_prefix(found + from.size());
    if (count > 0) --count;
  }
  return result.append(text);
}

std::string Upper(std::string_view text) { return absl::AsciiStrToUpper(std::string(text)); }
std::string Lower(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

std::string Capitalize(std::string_view text) {
  std::string result = Lower(text);
  if (!result.empty()) result[0] = absl::ascii_toupper(static_cast<unsigned char>(result[0]));
  return result;
}

std::string Title(std::string_view text) {
  std::string result = Lower(text);
  bool in_word = false;
  for (char& c : result) {
    if (!in_word) c = absl::ascii_toupper(static_cast<unsigned char>(c));
    // jinja2 begins words behind white space and -([{<
    in_word = !IsSpace(c) && std::string_view("-([{<").find(c) == std::string_view::npos;
  }
  return result;
}

std::optional<std::string> Unescape(std::string_view literal) {
  constexpr std::string_view kNames = "ntrabfv0'\"\\";
  constexpr std::string_view kValues("\n\t\r\a\b\f\v\0'\"\\", kNames.size());
  std::string text;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      text.push_back(literal[i]);
      continue;
    }
    const char c = literal[++i];
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      text.push_back(kValues[known]);
    } else if (digits > 0) {
      const std::string_view code = literal.substr(i + 1, digits);
      uint32_t point = 0;
      const auto [end, error] = std::from_chars(code.data(), code.data() + code.size(), point, 16);
      if (error != std::errc() || code.size() != digits || end != code.data() + digits || point > 0x10FFFF ||
          (point >= 0xD800 && point < 0xE000)) {
        return std::nullopt;
      }
      AppendUtf8(point, &text);
      i += digits;
    } else if (c != '\n') {  // a backslash before a newline joins the lines
      text += {'\\', c};
    }
  }
  return text;
}

void AppendUtf8(uint32_t code_point, std::string* text) {
  const auto tail = [&](int shift) { text->push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3F))); };
  if (code_point < 0x80) {
    text->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text->push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    tail(0);
  } else if (code_point < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    tail(6);
    tail(0);
  } else {
    text->push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

uint32_t CodePoint(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  uint32_t point = character.size() == 1   ? first
                   : character.size() == 2 ? first & 0x1F
                   : character.size() == 3 ? first & 0x0F
                                           : first & 0x07;
  for (size_t i = 1; i < character.size(); ++i)
    point = (point << 6) | (static_cast<unsigned char>(character[i]) & 0x3F);
  return point;
}

}  // namespace switchyard::jinja
