// The bytes of every token of a vocabulary as one prefix tree, laid out in the order of a walk.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "kernels/sampling.h"

namespace switchyard {

// Thread safety: immutable.
class VocabularyTrie {
 public:
  // `tokenizer` is borrowed. Special tokens are no text and take no part, nor do ids beyond the tokenizer's. Masks have
  // `vocab_size` bits, which is at least the tokenizer's.
  VocabularyTrie(const Tokenizer* tokenizer, int64_t vocab_size);

  struct Node {
    uint8_t byte = 0;         // the last of its path
    int32_t depth = 0;        // bytes of its path; of the root 0
    int32_t end = 0;          // one past the last node below
    int32_t first_token = 0;  // in tokens(): the ids whose bytes are the path
    int32_t num_tokens = 0;
  };
  static constexpr int32_t kRoot = 0;
  // In preorder: what lies below node i are the nodes i + 1 to nodes()[i].end - 1.
  const std::vector<Node>& nodes() const { return nodes_; }
  std::span<const int32_t> TokensAt(const Node& node) const {
    return std::span(tokens_).subspan(static_cast<size_t>(node.first_token), static_cast<size_t>(node.num_tokens));
  }

  // Of an ordinary token; empty for the rest.
  std::string_view Bytes(int32_t id) const;
  int32_t max_token_bytes() const { return max_token_bytes_; }
  int64_t vocab_size() const { return vocab_size_; }
  size_t mask_words() const { return (static_cast<size_t>(vocab_size_) + 31) / 32; }

 private:
  const Tokenizer* const tokenizer_;
  const int64_t vocab_size_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  int32_t max_token_bytes_ = 0;
};

}  // namespace switchyard
