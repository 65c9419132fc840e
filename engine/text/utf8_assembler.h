// Bytes that arrive in any division to text that is valid UTF-8 at every point.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard {

// What is part of no well-formed character (Unicode 15, table 3-7) becomes U+FFFD, however the bytes are divided among
// the calls: one for each byte, or one for each longest beginning of a character (table 3-8). Not thread-safe.
class Utf8Assembler {
 public:
  explicit Utf8Assembler(bool drop_leading_space = false, bool replace_each_byte = true)
      : drop_space_(drop_leading_space), replace_each_byte_(replace_each_byte) {}

  // Appends to `out` the characters that `bytes` complete; holds at most three bytes back.
  void Append(std::string_view bytes, std::string* out);
  // Appends to `out` what stands for the bytes held back.
  void Finish(std::string* out);

 private:
  std::array<char, 4> pending_;  // [num_pending_], a proper prefix of a character
  size_t num_pending_ = 0;
  bool drop_space_;  // until the first byte
  bool replace_each_byte_;
};

// `bytes` as a whole.
std::string ToValidUtf8(std::string_view bytes);

}  // namespace switchyard
