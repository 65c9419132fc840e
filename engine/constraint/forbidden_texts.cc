#include "engine/constraint/forbidden_texts.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {

absl::StatusOr<std::shared_ptr<ForbiddenTexts>> ForbiddenTexts::Create(std::span<const std::string> texts,
                                                                       std::shared_ptr<const VocabularyTrie> trie) {
  size_t bytes = 0;
  for (const std::string& text : texts) {
    if (text.empty()) return absl::InvalidArgumentError("bad_words has an empty string; remove it");
    bytes += text.size();
  }
  if (texts.size() > kMaxTexts || bytes > kMaxTotalBytes) {
    return absl::InvalidArgumentError(absl::StrCat("bad_words has ", texts.size(), " strings of ", bytes,
                                                   " bytes in all; the limits are ", kMaxTexts, " and ",
                                                   kMaxTotalBytes));
  }
  std::shared_ptr<ForbiddenTexts> result(new ForbiddenTexts(std::move(trie)));
  result->Build(texts);
  return result;
}

void ForbiddenTexts::Build(std::span<const std::string> texts) {
  constexpr int16_t kNone = -1;
  const auto add_state = [&] {
    states_.emplace_back().next.fill(kNone);
    return static_cast<int16_t>(states_.size() - 1);
  };
  add_state();
  for (const std::string& text : texts) {
    int16_t state = kStart;
    for (const char byte : text) {
      const auto index = static_cast<uint8_t>(byte);
      int16_t next = states_[static_cast<size_t>(state)].next[index];
      if (next == kNone) {
        next = add_state();
        states_[static_cast<size_t>(state)].next[index] = next;
      }
      state = next;
    }
    states_[static_cast<size_t>(state)].is_match = true;
  }
  // Breadth first: missing steps are those of the longest proper end of the state's path that is a state too.
  std::vector<int16_t> fallback(states_.size(), kStart);
  std::deque<int16_t> work = {kStart};
  while (!work.empty()) {
    const int16_t id = work.front();
    work.pop_front();
    State& state = states_[static_cast<size_t>(id)];
    const State& shorter = states_[static_cast<size_t>(fallback[static_cast<size_t>(id)])];
    state.is_match = state.is_match || shorter.is_match;
    for (size_t byte = 0; byte < state.next.size(); ++byte) {
      const int16_t inherited = id == kStart ? int16_t{kStart} : shorter.next[byte];
      if (state.next[byte] == kNone) {
        state.next[byte] = inherited;
      } else {
        fallback[static_cast<size_t>(state.next[byte])] = inherited;
        work.push_back(state.next[byte]);
      }
    }
  }
  forbidden_.resize(states_.size());
}

int32_t ForbiddenTexts::Next(int32_t state, int32_t token) const {
  for (const char byte : trie_->Bytes(token)) {
    state = states_[static_cast<size_t>(state)].next[static_cast<uint8_t>(byte)];
  }
  return state;
}

std::vector<int32_t> ForbiddenTexts::FindForbidden(int32_t state) const {
  std::vector<int32_t> found;
  std::vector<int32_t> path(static_cast<size_t>(trie_->max_token_bytes()) + 1);  // states, by depth
  path[0] = state;
  const std::vector<VocabularyTrie::Node>& nodes = trie_->nodes();
  for (size_t i = 1; i < nodes.size(); ++i) {
    const VocabularyTrie::Node& node = nodes[i];
    const int32_t next = states_[static_cast<size_t>(path[static_cast<size_t>(node.depth) - 1])].next[node.byte];
    path[static_cast<size_t>(node.depth)] = next;
    if (!states_[static_cast<size_t>(next)].is_match) continue;
    // Everything that goes on from here contains the forbidden text.
    for (; i < static_cast<size_t>(node.end); ++i) {
      for (const int32_t token : trie_->TokensAt(nodes[i])) found.push_back(token);
    }
    --i;
  }
  return found;
}

void ForbiddenTexts::Remove(int32_t state, TokenMask* mask) {
  const std::lock_guard lock(mu_);
  std::optional<std::vector<int32_t>>& forbidden = forbidden_[static_cast<size_t>(state)];
  if (!forbidden.has_value()) forbidden = FindForbidden(state);
  for (const int32_t token : *forbidden) {
    const size_t word = static_cast<size_t>(token) / 32;
    if (word < mask->size()) (*mask)[word] &= ~(1u << (static_cast<uint32_t>(token) % 32));
  }
}

}  // namespace switchyard
