// Regular languages of byte strings as deterministic automata: what patterns, literals and ranges are made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/automaton.h"

namespace switchyard {

struct ByteDfa {
  struct State {
    std::vector<ByteEdge> edges;  // ascending, disjoint
    bool is_final = false;
  };
  std::vector<State> states;  // state 0 is the start; none: the empty language

  bool empty() const { return states.empty(); }
  bool Accepts(std::string_view text) const;
};

// The language between `start` and the final states of an automaton without calls. Every state of the result leads to a
// final one. Beyond the budget the result means nothing.
ByteDfa Determinize(const Automaton& automaton, int32_t start);
// These texts and no others.
ByteDfa CompileTexts(std::span<const std::string> texts, CompileBudget* budget);
ByteDfa Intersect(const ByteDfa& a, const ByteDfa& b, CompileBudget* budget);
// The words of `a` that are none of `b`.
ByteDfa Subtract(const ByteDfa& a, const ByteDfa& b, CompileBudget* budget);

// Adds `dfa` so that its words lead from `from` to `to`.
void Embed(const ByteDfa& dfa, int32_t from, int32_t to, Automaton* automaton);

}  // namespace switchyard
