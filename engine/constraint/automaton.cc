#include "engine/constraint/automaton.h"

#include <algorithm>

namespace switchyard {

Automaton::Automaton(CompileBudget* budget) : budget_(budget), states_(1) {}

int32_t Automaton::AddState() {
  if (!budget_->SpendStates(1)) return 0;
  states_.emplace_back();
  return static_cast<int32_t>(states_.size()) - 1;
}

int32_t Automaton::AddRule() {
  starts_.push_back(AddState());
  return num_rules() - 1;
}

void Automaton::AddBytes(int32_t from, uint8_t low, uint8_t high, int32_t to) {
  if (budget_->SpendSteps(1)) states_[static_cast<size_t>(from)].bytes.push_back({low, high, to});
}

void Automaton::AddByte(int32_t from, char byte, int32_t to) {
  AddBytes(from, static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), to);
}

void Automaton::AddCall(int32_t from, int32_t rule, int32_t to) {
  if (budget_->SpendSteps(1)) states_[static_cast<size_t>(from)].calls.push_back({rule, to});
}

void Automaton::AddEmpty(int32_t from, int32_t to) {
  if (budget_->SpendSteps(1)) states_[static_cast<size_t>(from)].empties.push_back(to);
}

int32_t Automaton::AddText(int32_t from, std::string_view text) {
  for (const char byte : text) {
    const int32_t next = AddState();
    AddByte(from, byte, next);
    from = next;
  }
  return from;
}

std::vector<int32_t> Automaton::EmptyClosure(int32_t state) const {
  std::vector<int32_t> closure = {state};
  if (states_[static_cast<size_t>(state)].empties.empty()) return closure;
  std::vector<bool> seen(states_.size());
  seen[static_cast<size_t>(state)] = true;
  for (size_t i = 0; i < closure.size(); ++i) {
    for (const int32_t next : states_[static_cast<size_t>(closure[i])].empties) {
      if (seen[static_cast<size_t>(next)]) continue;
      seen[static_cast<size_t>(next)] = true;
      closure.push_back(next);
    }
  }
  return closure;
}

}  // namespace switchyard
