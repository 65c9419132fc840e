#include "engine/text/tokenizer_json/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/text/tokenizer_json/unicode_additions.h"
#include "kernels/check.h"

namespace switchyard::tokenizer_json {
namespace {

// The general category, of Unicode 16; "Cn" where there is none.
std::string_view CategoryOf(char32_t code) {
  const std::span<const CategoryRange> additions = CategoryAdditions();
  const auto* const found = std::partition_point(additions.data(), additions.data() + additions.size(),
                                                 [code](const CategoryRange& range) { return range.last < code; });
  if (found != additions.data() + additions.size() && found->first <= code) return found->category;
  return utf8proc_category_string(static_cast<utf8proc_int32_t>(code));
}

using CodePoints = std::vector<utf8proc_int32_t>;

void AppendDecomposition(char32_t code, bool compatible, CodePoints* out) {
  constexpr size_t kLongest = 18;  // U+FDFA
  const size_t begin = out->size();
  out->resize(begin + kLongest);
  int last_boundclass = 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  const utf8proc_ssize_t size = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), out->data() + begin,
                                                        kLongest, options, &last_boundclass);
  CHECK(size >= 0 && static_cast<size_t>(size) <= kLongest);
  out->resize(begin + static_cast<size_t>(size));
}

int CombiningClass(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Marks by combining class, those of one class in their order (Unicode 15, D109).
void SortMarks(CodePoints* codes) {
  for (auto it = codes->begin(); it != codes->end();) {
    if (CombiningClass(*it) == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, codes->end(), [](utf8proc_int32_t code) { return CombiningClass(code) == 0; });
    std::stable_sort(it, end,
                     [](utf8proc_int32_t a, utf8proc_int32_t b) { return CombiningClass(a) < CombiningClass(b); });
    it = end;
  }
}

// Appends the normal form of what `codes` was decomposed from; empties `codes`.
void Flush(bool composes, CodePoints* codes, std::string* out) {
  SortMarks(codes);
  auto size = static_cast<utf8proc_ssize_t>(codes->size());
  if (composes) {
    size = utf8proc_normalize_utf32(codes->data(), size,
                                    static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    CHECK(size >= 0);
  }
  for (utf8proc_ssize_t i = 0; i < size; ++i) AppendCharacter(static_cast<char32_t>((*codes)[i]), out);
  codes->clear();
}

}  // namespace

Character CharacterAt(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

Character CharacterBefore(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return CharacterAt(text, begin);
}

void AppendCharacter(char32_t code, std::string* out) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool IsWhiteSpace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsNumeric(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return CategoryOf(code).front() == 'N';
}

bool IsPunctuation(char32_t code) {
  if (code < 0x80) {
    return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') || (code >= '[' && code <= '`') ||
           (code >= '{' && code <= '~');
  }
  return (CategoryOf(code).front() == 'P') != IsToldOtherwiseAsPunctuation(code);
}

bool IsMark(char32_t code) { return code >= 0x300 && (CategoryOf(code).front() == 'M') != IsToldOtherwiseAsMark(code); }

bool IsWord(char32_t code) {
  const std::string_view category = CategoryOf(code);
  if (category.front() == 'L' || category.front() == 'M') return true;
  if (category == "Nd" || category == "Nl" || category == "Pc") return true;
  const bool is_circled_letter = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                                 (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return is_circled_letter || code == 0x200C || code == 0x200D;
}

void AppendLowercase(char32_t code, std::string* out) {
  switch (code) {
    case 0x130:
      out->append("i\u0307");
      return;
    case 0x1C89:  // letters of Unicode 16, as far as 0x10D65
    case 0xA7CC:
    case 0xA7DA:
      return AppendCharacter(code + 1, out);
    case 0xA7CB:
      return AppendCharacter(0x264, out);
    case 0xA7DC:
      return AppendCharacter(0x19B, out);
    default:
      break;
  }
  if (code >= 0x10D50 && code <= 0x10D65) return AppendCharacter(code + 0x20, out);
  AppendCharacter(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))), out);
}

std::string ToNormalForm(std::string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool composes = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  std::string out;
  out.reserve(text.size());
  CodePoints codes;  // a stretch that nothing behind it can change
  for (size_t i = 0; i < text.size();) {
    const Character character = CharacterAt(text, i);
    i += character.size;
    const bool is_inert = character.code < 0x80 || IsInertInNormalForms(character.code);
    if (is_inert) Flush(composes, &codes, &out);
    if (is_inert && character.code >= 0x80) {
      AppendCharacter(character.code, &out);
      continue;
    }
    AppendDecomposition(character.code, compatible, &codes);
  }
  Flush(composes, &codes, &out);
  return out;
}

}  // namespace switchyard::tokenizer_json
