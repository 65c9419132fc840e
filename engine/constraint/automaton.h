// A language of byte strings under construction: rules that call each other, each a nondeterministic automaton.
//
//   value  = 'n' 'u' 'l' 'l' | call list
//   list   = '[' call value ']'
//
// A rule's language is what leads from its start to a final state; a call edge stands for a word of the called rule.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/constraint/compile_budget.h"

namespace switchyard {

struct ByteEdge {
  uint8_t low = 0;
  uint8_t high = 0;  // inclusive
  int32_t target = 0;
  auto operator<=>(const ByteEdge&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
};
struct CallEdge {
  int32_t rule = 0;
  int32_t target = 0;                                 // where it goes on after the rule
  auto operator<=>(const CallEdge&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
};

// Not thread-safe. Past the budget nothing grows any more, and every new state is state 0.
class Automaton {
 public:
  struct State {
    std::vector<ByteEdge> bytes;
    std::vector<CallEdge> calls;
    std::vector<int32_t> empties;  // states that are reached without a byte
    bool is_final = false;
  };

  // `budget` is borrowed.
  explicit Automaton(CompileBudget* budget);

  int32_t AddState();
  // A rule and its start, a new state.
  int32_t AddRule();
  int32_t start(int32_t rule) const { return starts_[static_cast<size_t>(rule)]; }
  int32_t num_rules() const { return static_cast<int32_t>(starts_.size()); }

  void AddBytes(int32_t from, uint8_t low, uint8_t high, int32_t to);
  void AddByte(int32_t from, char byte, int32_t to);
  void AddCall(int32_t from, int32_t rule, int32_t to);
  void AddEmpty(int32_t from, int32_t to);
  void SetFinal(int32_t state) { states_[static_cast<size_t>(state)].is_final = true; }
  // A chain of new states; the last of them, or `from` for an empty text.
  int32_t AddText(int32_t from, std::string_view text);

  const std::vector<State>& states() const { return states_; }
  CompileBudget& budget() const { return *budget_; }
  // The states that `state` reaches without a byte, itself first.
  std::vector<int32_t> EmptyClosure(int32_t state) const;

 private:
  CompileBudget* const budget_;
  std::vector<State> states_;
  std::vector<int32_t> starts_;  // [rules]
};

}  // namespace switchyard
