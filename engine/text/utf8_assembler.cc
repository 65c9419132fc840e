#include "engine/text/utf8_assembler.h"

namespace switchyard {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// How many bytes a character that starts with `lead` has; 0 when none does.
size_t CharacterSize(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;  // continuation bytes, and what only overlong forms start with
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

// The second byte's range is narrower after four lead bytes: no overlong forms, no surrogates, nothing above U+10FFFF.
bool ContinuesCharacter(unsigned char lead, size_t position, unsigned char byte) {
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (position == 1) {
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  return byte >= low && byte <= high;
}

}  // namespace

void Utf8Assembler::Append(std::string_view bytes, std::string* out) {
  if (bytes.empty()) return;
  if (drop_space_ && bytes.front() == ' ') bytes.remove_prefix(1);
  drop_space_ = false;
  for (const char c : bytes) {
    if (num_pending_ > 0) {
      const auto lead = static_cast<unsigned char>(pending_[0]);
      if (ContinuesCharacter(lead, num_pending_, static_cast<unsigned char>(c))) {
        pending_[num_pending_++] = c;
        if (num_pending_ == CharacterSize(lead)) {
          out->append(pending_.data(), num_pending_);
          num_pending_ = 0;
        }
        continue;
      }
      Finish(out);
    }
    switch (CharacterSize(static_cast<unsigned char>(c))) {
      case 0:
        out->append(kReplacement);
        break;
      case 1:
        out->push_back(c);
        break;
      default:
        pending_[num_pending_++] = c;
    }
  }
}

void Utf8Assembler::Finish(std::string* out) {
  if (num_pending_ > 0 && !replace_each_byte_) num_pending_ = 1;
  for (; num_pending_ > 0; --num_pending_) out->append(kReplacement);
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  Utf8Assembler assembler;
  assembler.Append(bytes, &out);
  assembler.Finish(&out);
  return out;
}

}  // namespace switchyard
