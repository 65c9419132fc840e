// GPT-2's alphabet: each byte as a printable character, "Ġ" for a space.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace switchyard::tokenizer_json {

void AppendByteLevel(std::string_view bytes, std::string* out);

// The bytes that `text` stands for; nullopt when a character of it is none of the alphabet.
std::optional<std::string> BytesOfByteLevel(std::string_view text);

}  // namespace switchyard::tokenizer_json
