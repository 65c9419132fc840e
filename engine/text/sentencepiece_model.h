// tokenizer.model: the one place that knows the SentencePiece library.
// Its header declares an absl::string_view of its own, which no header of Abseil's can stand beside: so errors are
// plain text here, and the caller makes a Status of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581 "▁", a space in a piece's name

// `name` with each mark made a space.
std::string MarksToSpaces(std::string_view name);

// Thread safety: immutable.
class SentencePieceModel {
 public:
  // `serialized` is the file's content. `dummy_prefix` false: whatever the file says, Encode puts no space before the
  // text. Null with the reason in `error` when it is no model.
  static std::unique_ptr<SentencePieceModel> Parse(std::string serialized, bool dummy_prefix, std::string* error);
  ~SentencePieceModel();

  std::vector<int32_t> Encode(std::string_view text) const;

  struct Piece {
    std::string name;      // "▁the", "<0x0A>"
    std::string bytes;     // what it adds to a text: " the", "\n"; a control or unknown token's is its name
    bool special = false;  // control or unknown
  };
  const std::vector<Piece>& pieces() const { return pieces_; }
  std::optional<int32_t> Find(std::string_view name) const;
  // Encode, as the file has it, puts a space before the text.
  bool has_dummy_prefix() const { return has_dummy_prefix_; }

 private:
  struct Library;
  SentencePieceModel();

  std::unique_ptr<Library> library_;
  std::vector<Piece> pieces_;
  bool has_dummy_prefix_ = false;
};

}  // namespace switchyard
