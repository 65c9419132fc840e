#include "engine/constraint/token_masks.h"

#include <algorithm>

namespace switchyard {
namespace {

constexpr int32_t kUnknown = -2;
constexpr int32_t kNone = -1;
constexpr int32_t kNoNodes = 0;
constexpr int32_t kRootOnly = 1;

// What one constraint may keep; beyond, it starts anew.
constexpr size_t kMaxAnswerBytes = 4 << 20;
constexpr size_t kMaxWalks = 1024;
// Threads followed over bytes for one answer; some 200 ns each.
constexpr int64_t kMaxWork = 1'000'000;

void Allow(int32_t token, TokenMask* mask) {
  (*mask)[static_cast<size_t>(token) / 32] |= 1u << (static_cast<uint32_t>(token) % 32);
}

}  // namespace

TokenMasks::TokenMasks(PushdownStates* states, const VocabularyTrie* trie) : states_(states), trie_(trie) { Forget(); }

void TokenMasks::Forget() {
  answers_.clear();
  answer_bytes_ = 0;
  node_lists_.clear();
  node_list_index_.clear();
  ListOf({});
  ListOf({VocabularyTrie::kRoot});
}

int32_t TokenMasks::ListOf(std::vector<int32_t> nodes) {
  const auto [place, is_new] = node_list_index_.try_emplace(nodes, static_cast<int32_t>(node_lists_.size()));
  if (is_new) node_lists_.push_back(std::move(nodes));
  return place->second;
}

bool TokenMasks::AddAllowed(const Threads& threads, const ReturnStacks& stacks, TokenMask* mask) {
  if (answer_bytes_ > kMaxAnswerBytes) Forget();
  work_ = 0;
  for (const Thread& thread : threads) {
    int32_t nodes = kRootOnly;
    int32_t set = thread.set;
    for (int32_t stack = thread.stack; nodes != kNoNodes; stack = stacks.top(stack).below) {
      const Answer* answer = Find(set, nodes);
      if (answer == nullptr) return false;
      for (const int32_t token : answer->tokens) Allow(token, mask);
      for (size_t i = 0; i < answer->mask.size(); ++i) (*mask)[i] |= answer->mask[i];
      if (stack == ReturnStacks::kBottom) break;
      nodes = answer->ends;
      set = stacks.top(stack).set;
    }
  }
  return true;
}

const TokenMasks::Answer* TokenMasks::Find(int32_t set, int32_t nodes) {
  const Key key = {states_->ClassOf(set), nodes};
  if (const auto found = answers_.find(key); found != answers_.end()) return &found->second;
  Answer answer;
  if (!Compute(set, nodes, &answer)) return nullptr;
  constexpr size_t kOverhead = 128;
  answer_bytes_ += kOverhead + (answer.tokens.size() + answer.mask.size()) * sizeof(int32_t);
  return &answers_.emplace(key, std::move(answer)).first->second;
}

bool TokenMasks::Compute(int32_t set, int32_t nodes, Answer* answer) {
  if (walks_.size() > kMaxWalks) {
    walks_.clear();
    walk_index_.clear();
    walk_stacks_ = ReturnStacks();
  }
  const int32_t first = WalkOf({{.stack = ReturnStacks::kBottom, .set = set}});
  const std::vector<int32_t> starts = node_lists_[static_cast<size_t>(nodes)];
  std::vector<int32_t> ends;
  if (walks_[static_cast<size_t>(first)].may_end) ends = starts;
  std::vector<int32_t> path(static_cast<size_t>(trie_->max_token_bytes()) + 1);  // walks, by depth
  for (const int32_t start : starts) {
    const std::vector<VocabularyTrie::Node>& tree = trie_->nodes();
    path[static_cast<size_t>(tree[static_cast<size_t>(start)].depth)] = first;
    for (int32_t i = start + 1; i < tree[static_cast<size_t>(start)].end;) {
      const VocabularyTrie::Node& node = tree[static_cast<size_t>(i)];
      const int32_t walk = Next(path[static_cast<size_t>(node.depth) - 1], node.byte);
      if (work_ > kMaxWork) return false;
      if (walk == kNone) {
        i = node.end;
        continue;
      }
      path[static_cast<size_t>(node.depth)] = walk;
      for (const int32_t token : trie_->TokensAt(node)) answer->tokens.push_back(token);
      if (walks_[static_cast<size_t>(walk)].may_end) ends.push_back(i);
      ++i;
    }
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  answer_bytes_ += ends.size() * sizeof(int32_t);
  answer->ends = ListOf(std::move(ends));
  if (answer->tokens.size() > trie_->mask_words()) {
    answer->mask.resize(trie_->mask_words());
    for (const int32_t token : answer->tokens) Allow(token, &answer->mask);
    answer->tokens = {};
  }
  answer->tokens.shrink_to_fit();
  return true;
}

int32_t TokenMasks::WalkOf(Threads threads) {
  if (threads.empty()) return kNone;
  const auto [place, is_new] = walk_index_.try_emplace(threads, static_cast<int32_t>(walks_.size()));
  if (is_new) {
    Walk walk = {.threads = std::move(threads), .next = std::make_unique<std::array<int32_t, 256>>()};
    walk.may_end = states_->MayEnd(walk.threads, &walk_stacks_);
    walk.next->fill(kUnknown);
    walks_.push_back(std::move(walk));
  }
  return place->second;
}

int32_t TokenMasks::Next(int32_t walk, uint8_t byte) {
  const int32_t known = (*walks_[static_cast<size_t>(walk)].next)[byte];
  if (known != kUnknown) return known;
  Threads next;
  work_ += 1 + static_cast<int64_t>(walks_[static_cast<size_t>(walk)].threads.size());
  const auto outcome = states_->Advance(walks_[static_cast<size_t>(walk)].threads, byte, &walk_stacks_, &next);
  if (outcome == PushdownStates::Outcome::kTooMany) work_ = kMaxWork + 1;
  const int32_t result = WalkOf(std::move(next));
  (*walks_[static_cast<size_t>(walk)].next)[byte] = result;
  return result;
}

}  // namespace switchyard
