// Texts that must not occur in what is generated (`bad_words`), however they are divided into tokens.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/constraint/vocabulary_trie.h"

namespace switchyard {

// An automaton of Aho and Corasick (1975): its state is the longest end of the generated text with which a forbidden
// one begins. Thread safety: any thread; the tokens that each state forbids are worked out when it is met.
class ForbiddenTexts {
 public:
  static constexpr size_t kMaxTexts = 256;
  static constexpr size_t kMaxTotalBytes = 4096;

  // INVALID_ARGUMENT: an empty text, or beyond a limit.
  static absl::StatusOr<std::shared_ptr<ForbiddenTexts>> Create(std::span<const std::string> texts,
                                                                std::shared_ptr<const VocabularyTrie> trie);

  // Before the first token.
  static constexpr int32_t kStart = 0;
  int32_t Next(int32_t state, int32_t token) const;
  // Takes the tokens that would complete a forbidden text out of `mask`, which may be shorter than the vocabulary.
  void Remove(int32_t state, TokenMask* mask);

 private:
  explicit ForbiddenTexts(std::shared_ptr<const VocabularyTrie> trie) : trie_(std::move(trie)) {}
  void Build(std::span<const std::string> texts);
  std::vector<int32_t> FindForbidden(int32_t state) const;

  struct State {
    std::array<int16_t, 256> next = {};
    bool is_match = false;  // a forbidden text ends here
  };

  const std::shared_ptr<const VocabularyTrie> trie_;
  std::vector<State> states_;  // constant after construction
  std::mutex mu_;
  std::vector<std::optional<std::vector<int32_t>>> forbidden_;  // by state; guarded by mu_
};

}  // namespace switchyard
