#include "engine/constraint/vocabulary_trie.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {

VocabularyTrie::VocabularyTrie(const Tokenizer* tokenizer, int64_t vocab_size)
    : tokenizer_(tokenizer), vocab_size_(vocab_size) {
  CHECK_LE(int64_t{tokenizer->vocab_size()}, vocab_size);
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (!Bytes(id).empty()) tokens_.push_back(id);
  }
  std::stable_sort(tokens_.begin(), tokens_.end(), [this](int32_t a, int32_t b) { return Bytes(a) < Bytes(b); });

  std::vector<int32_t> path = {kRoot};  // the nodes from the root to the last token
  nodes_.emplace_back();
  std::string_view before;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view bytes = Bytes(tokens_[i]);
    const size_t common = static_cast<size_t>(
        std::mismatch(bytes.begin(), bytes.end(), before.begin(), before.end()).first - bytes.begin());
    for (; path.size() > common + 1; path.pop_back()) {
      nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
    }
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({.byte = static_cast<uint8_t>(bytes[depth]),
                        .depth = static_cast<int32_t>(depth) + 1,
                        .first_token = static_cast<int32_t>(i)});
    }
    ++nodes_[static_cast<size_t>(path.back())].num_tokens;
    max_token_bytes_ = std::max(max_token_bytes_, static_cast<int32_t>(bytes.size()));
    before = bytes;
  }
  for (const int32_t node : path) nodes_[static_cast<size_t>(node)].end = static_cast<int32_t>(nodes_.size());
}

std::string_view VocabularyTrie::Bytes(int32_t id) const {
  return tokenizer_->IsSpecial(id) ? std::string_view() : tokenizer_->Bytes(id);
}

}  // namespace switchyard
