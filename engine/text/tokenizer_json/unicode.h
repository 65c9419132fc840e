// Characters of UTF-8 text, their properties and normal forms. The one place that knows utf8proc.
// Properties are those of Unicode 16, or what Hugging Face has instead (unicode_additions.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard::tokenizer_json {

struct Character {
  char32_t code = 0;
  size_t size = 0;  // bytes
};
// The character that starts at text[at]. `text` is valid UTF-8, as everywhere in this folder.
Character CharacterAt(std::string_view text, size_t at);
// The last one before text[end]; end > 0.
Character CharacterBefore(std::string_view text, size_t end);
void AppendCharacter(char32_t code, std::string* out);

bool IsWhiteSpace(char32_t code);   // White_Space
bool IsNumeric(char32_t code);      // N*
bool IsPunctuation(char32_t code);  // P*, and ASCII's $+<=>^`|~; for Punctuation
bool IsMark(char32_t code);         // M*; for StripAccents
bool IsWord(char32_t code);         // \w of UTS 18: alphabetic, M*, Nd, Pc, the two joiners
// Unconditional full mapping: U+0130 becomes two characters; a final sigma is as any other.
void AppendLowercase(char32_t code, std::string* out);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// As Hugging Face's tables of Unicode 11 have it: characters assigned since stay as and where they are. Linear but for
// the sort of a run of marks.
std::string ToNormalForm(std::string_view text, NormalForm form);

}  // namespace switchyard::tokenizer_json
