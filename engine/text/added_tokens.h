// Splits a text at the added tokens that it contains.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer_config.h"

namespace switchyard {

// Thread safety: immutable.
class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Segment {
    std::string text;                   // never empty
    const AddedToken* token = nullptr;  // null: ordinary text
  };
  // Leftmost match first, the longest of those that start there; then lstrip, rstrip and single_word as Hugging Face's
  // PreTrainedTokenizer.tokenize applies them. Linear in the text for a fixed set of tokens.
  std::vector<Segment> Split(std::string_view text) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // Null when there is none of that name.
  const AddedToken* Find(std::string_view content) const;

 private:
  const AddedToken* MatchAt(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::map<std::string, size_t, std::less<>> index_;      // content -> position in tokens_
  std::vector<std::vector<size_t>> sizes_by_first_byte_;  // [256], descending
};

}  // namespace switchyard
