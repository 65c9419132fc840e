// What Hugging Face's `tokenizers` 0.22 knows of Unicode that our libraries know otherwise. Its regular expressions
// (Oniguruma 6.9.10) have Unicode 16 where Debian 12's PCRE2 10.42 has 14 and utf8proc 2.8 has 15; its normal forms
// have Unicode 11. Tables by tests/reference/make_unicode_additions.py, which asks the library itself.
#pragma once

#include <span>

namespace switchyard::tokenizer_json {

struct CategoryRange {
  char32_t first = 0;
  char32_t last = 0;
  char category[3] = {};  // "Lu"
};
// Characters that PCRE2 takes for unassigned; ascending.
std::span<const CategoryRange> CategoryAdditions();

// Characters that the normal forms neither change nor move, though utf8proc's would.
bool IsInertInNormalForms(char32_t code);

// Characters of which Punctuation and StripAccents say other than Unicode 16, mostly because they are younger than the
// tables of these two (Unicode 8 and 11).
bool IsToldOtherwiseAsPunctuation(char32_t code);
bool IsToldOtherwiseAsMark(char32_t code);

}  // namespace switchyard::tokenizer_json
