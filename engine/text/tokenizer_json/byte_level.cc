#include "engine/text/tokenizer_json/byte_level.h"

#include <array>

#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

constexpr bool IsPrintable(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr size_t kNumCharacters = 0x144;  // U+0000 to U+0143

// [byte]: the characters are below U+0800, so one or two bytes each.
constexpr std::array<char32_t, 256> CharacterOfByte() {
  std::array<char32_t, 256> characters = {};
  char32_t next = 0x100;  // the others, in order
  for (unsigned byte = 0; byte < 256; ++byte) characters[byte] = IsPrintable(byte) ? char32_t{byte} : next++;
  return characters;
}
constexpr std::array<char32_t, 256> kCharacterOfByte = CharacterOfByte();

constexpr std::array<int, kNumCharacters> ByteOfCharacter() {
  std::array<int, kNumCharacters> bytes = {};
  for (int& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCharacterOfByte[byte]] = byte;
  return bytes;
}
constexpr std::array<int, kNumCharacters> kByteOfCharacter = ByteOfCharacter();

}  // namespace

void AppendByteLevel(std::string_view bytes, std::string* out) {
  for (const char c : bytes) {
    const char32_t code = kCharacterOfByte[static_cast<unsigned char>(c)];
    if (code < 0x80) {
      out->push_back(static_cast<char>(code));
    } else {
      out->push_back(static_cast<char>(0xC0 | code >> 6));
      out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
  }
}

std::optional<std::string> BytesOfByteLevel(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size();) {
    const Character character = CharacterAt(text, i);
    if (character.code >= kNumCharacters || kByteOfCharacter[character.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteOfCharacter[character.code]));
    i += character.size;
  }
  return bytes;
}

}  // namespace switchyard::tokenizer_json
