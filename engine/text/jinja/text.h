// Strings as Python has them: sequences of code points, here in UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::jinja {

// ASCII's white space, the separators 0x1C to 0x1F included.
bool IsSpace(char c);

// Without `characters` at the ends; white space where that is nullopt.
std::string_view StripLeft(std::string_view text, std::optional<std::string_view> characters = std::nullopt);
std::string_view StripRight(std::string_view text, std::optional<std::string_view> characters = std::nullopt);

// Each character's bytes; a byte that is part of none is one of its own.
std::vector<std::string_view> Characters(std::string_view text);
int64_t NumCharacters(std::string_view text);

// Python's str.split, rsplit (`from_right`): by runs of white space without a separator; at most `max_splits` times
// unless that is negative. `separator` is not empty.
std::vector<std::string_view> Split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t max_splits, bool from_right);
// At most `count` times unless that is negative.
std::string Replace(std::string_view text, std::string_view from, std::string_view to, int64_t count);

// Letters outside of ASCII stay as they are.
std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Capitalize(std::string_view text);
std::string Title(std::string_view text);

// Of a string literal; nullopt: a broken \x, \u or \U. Unknown escapes stay, as in Python.
std::optional<std::string> Unescape(std::string_view literal);
void AppendUtf8(uint32_t code_point, std::string* text);
// The code point that `character`'s bytes encode.
uint32_t CodePoint(std::string_view character);

}  // namespace switchyard::jinja
