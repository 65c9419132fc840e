// A compiled constraint, shared by all sequences that generate under it, and one sequence's place in it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/constraint/automaton.h"
#include "engine/constraint/pushdown_states.h"
#include "engine/constraint/token_masks.h"
#include "engine/constraint/vocabulary_trie.h"

namespace switchyard {

// Thread safety: any thread. What it works out on the way (states, masks) is kept for all, under a lock.
class Grammar {
 public:
  // The texts of the rule `root`. INVALID_ARGUMENT: there are none, or a limit was passed.
  static absl::StatusOr<std::shared_ptr<Grammar>> Create(const Automaton& automaton, int32_t root,
                                                         std::shared_ptr<const VocabularyTrie> trie);

 private:
  Grammar(PushdownStates states, std::shared_ptr<const VocabularyTrie> trie);
  friend class GrammarMatcher;

  const std::shared_ptr<const VocabularyTrie> trie_;
  std::mutex mu_;
  PushdownStates states_;  // guarded by mu_, like the next
  TokenMasks masks_;
};

// Not thread-safe: belongs to its sequence.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<Grammar> grammar);

  // Reads a token. INTERNAL: no text of the grammar goes on like this (nothing that the mask allowed does that), or the
  // constraint is too ambiguous to follow. Ids that are no text (end of sequence) are not for here.
  absl::Status Accept(int32_t token);
  // The tokens that may follow, [mask_words()]; those that end the text are the caller's to add. RESOURCE_EXHAUSTED: as
  // above.
  absl::StatusOr<TokenMask> Allowed();
  // Whether the text may end here.
  bool MayEnd();

 private:
  const std::shared_ptr<Grammar> grammar_;
  ReturnStacks stacks_;
  Threads threads_;
};

}  // namespace switchyard
