#include "engine/constraint/pushdown_states.h"

#include <algorithm>
#include <unordered_set>

namespace switchyard {

int32_t ReturnStacks::Push(Entry entry) {
  const uint64_t key = uint64_t{static_cast<uint32_t>(entry.below)} << 32 | static_cast<uint32_t>(entry.set);
  const auto [place, is_new] = index_.try_emplace(key, static_cast<int32_t>(entries_.size()));
  if (is_new) entries_.push_back(entry);
  return place->second;
}

int32_t PushdownStates::Intern(std::vector<int32_t> states, std::vector<int32_t>* unlinked) {
  std::sort(states.begin(), states.end());
  states.erase(std::unique(states.begin(), states.end()), states.end());
  const auto found = set_index_.find(states);
  if (found != set_index_.end()) return found->second;

  Set set = {.states = states};
  std::vector<int32_t> signatures;
  for (const int32_t id : states) {
    const State& state = states_[static_cast<size_t>(id)];
    set.is_final = set.is_final || state.is_final;
    signatures.push_back(state.signature);
  }
  std::sort(signatures.begin(), signatures.end());
  signatures.erase(std::unique(signatures.begin(), signatures.end()), signatures.end());
  set.signature_class =
      class_index_.try_emplace(std::move(signatures), static_cast<int32_t>(class_index_.size())).first->second;
  const auto id = static_cast<int32_t>(sets_.size());
  sets_.push_back(std::move(set));
  set_index_.emplace(std::move(states), id);
  unlinked->push_back(id);
  return id;
}

int32_t PushdownStates::SetOf(std::vector<int32_t> states) {
  if (states.empty()) return -1;
  // A loop and no recursion: a schema's maxLength may ask for a chain of many thousand sets.
  std::vector<int32_t> unlinked;
  const int32_t id = Intern(std::move(states), &unlinked);
  while (!unlinked.empty()) {
    const auto set = static_cast<size_t>(unlinked.back());
    unlinked.pop_back();
    std::map<int32_t, std::vector<int32_t>> returns;  // by rule
    for (const int32_t state : sets_[set].states) {
      for (const CallEdge& call : states_[static_cast<size_t>(state)].calls) returns[call.rule].push_back(call.target);
    }
    std::vector<Call> calls;
    for (auto& [rule, targets] : returns) {
      const int32_t start_set = Intern({rule_starts_[static_cast<size_t>(rule)]}, &unlinked);
      calls.push_back({start_set, Intern(std::move(targets), &unlinked)});
    }
    sets_[set].calls = std::move(calls);
  }
  return id;
}

bool PushdownStates::Close(Threads* threads, ReturnStacks* stacks) {
  bool reached_bottom = false;
  const auto key_of = [](const Thread& thread) {
    return uint64_t{static_cast<uint32_t>(thread.stack)} << 32 | static_cast<uint32_t>(thread.set);
  };
  std::unordered_set<uint64_t> known;
  for (const Thread& thread : *threads) known.insert(key_of(thread));
  const auto add = [&](Thread thread) {
    if (known.insert(key_of(thread)).second) threads->push_back(thread);
  };
  for (size_t i = 0; i < threads->size() && threads->size() <= kMaxThreads; ++i) {
    const Thread thread = (*threads)[i];
    const Set& set = sets_[static_cast<size_t>(thread.set)];
    for (const Call& call : set.calls) {
      add({.stack = stacks->Push({thread.stack, call.return_set}), .set = call.start_set});
    }
    if (!set.is_final) continue;
    if (thread.stack == ReturnStacks::kBottom) {
      reached_bottom = true;
    } else {
      const ReturnStacks::Entry& top = stacks->top(thread.stack);
      add({.stack = top.below, .set = top.set});
    }
  }
  return reached_bottom;
}

std::vector<int32_t> PushdownStates::Step(int32_t set, uint8_t byte) const {
  std::vector<int32_t> targets;
  for (const int32_t id : sets_[static_cast<size_t>(set)].states) {
    for (const ByteEdge& edge : states_[static_cast<size_t>(id)].bytes) {
      if (edge.low <= byte && byte <= edge.high) targets.push_back(edge.target);
    }
  }
  return targets;
}

PushdownStates::Outcome PushdownStates::Advance(const Threads& threads, uint8_t byte, ReturnStacks* stacks,
                                                Threads* next) {
  next->clear();
  Threads closed = threads;
  Close(&closed, stacks);
  if (closed.size() > kMaxThreads) return Outcome::kTooMany;
  std::vector<std::pair<int32_t, std::vector<int32_t>>> reached;  // by stack
  for (const Thread& thread : closed) {
    std::vector<int32_t> targets = Step(thread.set, byte);
    if (targets.empty()) continue;
    const auto same =
        std::find_if(reached.begin(), reached.end(), [&](const auto& entry) { return entry.first == thread.stack; });
    if (same == reached.end()) {
      reached.emplace_back(thread.stack, std::move(targets));
    } else {
      same->second.insert(same->second.end(), targets.begin(), targets.end());
    }
  }
  for (auto& [stack, states] : reached) next->push_back({.stack = stack, .set = SetOf(std::move(states))});
  std::sort(next->begin(), next->end());
  return sets_.size() > kMaxSets ? Outcome::kTooMany : Outcome::kOk;
}

bool PushdownStates::MayEnd(const Threads& threads, ReturnStacks* stacks) {
  Threads closed = threads;
  return Close(&closed, stacks);
}

}  // namespace switchyard
