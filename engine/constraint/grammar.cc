#include "engine/constraint/grammar.h"

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

absl::Status TooAmbiguous() {
  return absl::ResourceExhaustedError(
      "the constraint can be read in too many ways at once; tell its alternatives apart by their first members");
}

}  // namespace

absl::StatusOr<std::shared_ptr<Grammar>> Grammar::Create(const Automaton& automaton, int32_t root,
                                                         std::shared_ptr<const VocabularyTrie> trie) {
  absl::StatusOr<PushdownStates> states = PushdownStates::Create(automaton, root, trie->max_token_bytes());
  if (!states.ok()) return states.status();
  return std::shared_ptr<Grammar>(new Grammar(*std::move(states), std::move(trie)));
}

Grammar::Grammar(PushdownStates states, std::shared_ptr<const VocabularyTrie> trie)
    : trie_(std::move(trie)), states_(std::move(states)), masks_(&states_, trie_.get()) {}

GrammarMatcher::GrammarMatcher(std::shared_ptr<Grammar> grammar)
    : grammar_(std::move(grammar)), threads_({grammar_->states_.Start()}) {}

absl::Status GrammarMatcher::Accept(int32_t token) {
  const std::lock_guard lock(grammar_->mu_);
  const std::string_view bytes = grammar_->trie_->Bytes(token);
  if (bytes.empty())
    return absl::InternalError(absl::StrCat("token ", token, " is no text, and the constraint wants some"));
  Threads next;
  for (const char byte : bytes) {
    const auto outcome = grammar_->states_.Advance(threads_, static_cast<uint8_t>(byte), &stacks_, &next);
    if (outcome == PushdownStates::Outcome::kTooMany) return TooAmbiguous();
    threads_.swap(next);
  }
  if (!threads_.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("token ", token, " ('", absl::CHexEscape(std::string(bytes)),
                                          "') breaks the constraint that allowed it"));
}

absl::StatusOr<TokenMask> GrammarMatcher::Allowed() {
  const std::lock_guard lock(grammar_->mu_);
  TokenMask mask(grammar_->trie_->mask_words());
  if (!grammar_->masks_.AddAllowed(threads_, stacks_, &mask)) return TooAmbiguous();
  return mask;
}

bool GrammarMatcher::MayEnd() {
  const std::lock_guard lock(grammar_->mu_);
  return grammar_->states_.MayEnd(threads_, &stacks_);
}

}  // namespace switchyard
