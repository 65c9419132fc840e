// Which tokens may follow: masks over a vocabulary, worked out once for each class of states and kept.
//
// A token may run through the end of the current rule into whatever the stack holds. So the answer for a class of sets
// of states has two parts, neither of which depends on the stack:
//   - the tokens that end within the rule, or within rules that it calls: allowed whatever lies below;
//   - the nodes of the vocabulary's tree at which the rule may have ended: there the return address goes on with the
//     rest of the token. "Goes on from these nodes" is again a question that is answered once and kept.
// After XGrammar (Dong et al., 2024, section 3.1: context-independent and context-dependent tokens), with the second
// part as a list of nodes instead of tokens that are tried against each stack.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/constraint/pushdown_states.h"
#include "engine/constraint/vocabulary_trie.h"

namespace switchyard {

// Not thread-safe.
class TokenMasks {
 public:
  // Both are borrowed.
  TokenMasks(PushdownStates* states, const VocabularyTrie* trie);

  // Adds the tokens that any of the threads allows to `mask` [mask_words()]. False: the constraint is too ambiguous to
  // follow, and the mask means nothing.
  bool AddAllowed(const Threads& threads, const ReturnStacks& stacks, TokenMask* mask);

 private:
  struct Answer {
    std::vector<int32_t> tokens;  // if they are few, else
    TokenMask mask;
    int32_t ends = 0;  // the list of nodes at which the rule may have ended
  };
  struct Key {
    int32_t set_class = 0;
    int32_t nodes = 0;                             // in node_lists_
    auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
  };

  const Answer* Find(int32_t set, int32_t nodes);
  bool Compute(int32_t set, int32_t nodes, Answer* answer);
  int32_t ListOf(std::vector<int32_t> nodes);
  void Forget();

  // Threads as they occur within one walk, where only what lies above the first rule is known; numbered.
  struct Walk {
    Threads threads;
    bool may_end = false;
    std::unique_ptr<std::array<int32_t, 256>> next;  // by byte; kUnknown, or kNone
  };
  int32_t WalkOf(Threads threads);
  int32_t Next(int32_t walk, uint8_t byte);

  PushdownStates* const states_;
  const VocabularyTrie* const trie_;
  std::map<Key, Answer> answers_;
  size_t answer_bytes_ = 0;
  std::vector<std::vector<int32_t>> node_lists_;  // [0]: none; [1]: the root
  std::map<std::vector<int32_t>, int32_t> node_list_index_;
  ReturnStacks walk_stacks_;
  std::vector<Walk> walks_;
  std::map<Threads, int32_t> walk_index_;
  int64_t work_ = 0;  // of the answer that is being computed
};

}  // namespace switchyard
