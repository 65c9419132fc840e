#include "engine/constraint/byte_dfa.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace switchyard {
namespace {

int32_t Next(const ByteDfa& dfa, int32_t state, uint8_t byte) {
  if (state < 0) return -1;
  for (const ByteEdge& edge : dfa.states[static_cast<size_t>(state)].edges) {
    if (byte < edge.low) break;
    if (byte <= edge.high) return edge.target;
  }
  return -1;
}

// Where the answer for a byte may change: [0] and one past the end of each run of bytes that all edges treat alike.
class ByteRuns {
 public:
  void Cut(const ByteEdge& edge) {
    cuts_[edge.low] = true;
    cuts_[size_t{edge.high} + 1] = true;
  }
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (int low = 0; low < 256;) {
      int end = low + 1;
      while (end < 256 && !cuts_[static_cast<size_t>(end)]) ++end;
      visit(static_cast<uint8_t>(low), static_cast<uint8_t>(end - 1));
      low = end;
    }
  }

 private:
  std::array<bool, 257> cuts_ = {};
};

void Append(ByteEdge edge, std::vector<ByteEdge>* edges) {
  if (!edges->empty() && edges->back().target == edge.target && edges->back().high + 1 == edge.low) {
    edges->back().high = edge.high;
  } else {
    edges->push_back(edge);
  }
}

// Drops the states that lead to no final one.
ByteDfa Trimmed(const ByteDfa& dfa) {
  const size_t count = dfa.states.size();
  std::vector<std::vector<int32_t>> sources(count);
  std::vector<bool> alive(count);
  std::vector<int32_t> work;
  for (size_t i = 0; i < count; ++i) {
    for (const ByteEdge& edge : dfa.states[i].edges)
      sources[static_cast<size_t>(edge.target)].push_back(static_cast<int32_t>(i));
    if (!dfa.states[i].is_final) continue;
    alive[i] = true;
    work.push_back(static_cast<int32_t>(i));
  }
  while (!work.empty()) {
    const auto state = static_cast<size_t>(work.back());
    work.pop_back();
    for (const int32_t source : sources[state]) {
      if (alive[static_cast<size_t>(source)]) continue;
      alive[static_cast<size_t>(source)] = true;
      work.push_back(source);
    }
  }
  if (count == 0 || !alive[0]) return {};
  std::vector<int32_t> renamed(count, -1);
  ByteDfa result;
  for (size_t i = 0; i < count; ++i) {
    if (!alive[i]) continue;
    renamed[i] = static_cast<int32_t>(result.states.size());
    result.states.emplace_back().is_final = dfa.states[i].is_final;
  }
  for (size_t i = 0; i < count; ++i) {
    if (!alive[i]) continue;
    for (const ByteEdge& edge : dfa.states[i].edges) {
      const int32_t target = renamed[static_cast<size_t>(edge.target)];
      if (target >= 0) result.states[static_cast<size_t>(renamed[i])].edges.push_back({edge.low, edge.high, target});
    }
  }
  return result;
}

// Pairs of states; of b there may be none (-1) where its words do not matter any more.
template <typename IsFinal>
ByteDfa Product(const ByteDfa& a, const ByteDfa& b, bool needs_b, IsFinal is_final, CompileBudget* budget) {
  ByteDfa result;
  if (a.empty() || (needs_b && b.empty())) return result;
  using Pair = std::pair<int32_t, int32_t>;
  std::map<Pair, int32_t> ids;
  std::vector<Pair> pairs;
  const auto id_of = [&](Pair pair) {
    const auto [place, is_new] = ids.try_emplace(pair, static_cast<int32_t>(pairs.size()));
    if (is_new) pairs.push_back(pair);
    return place->second;
  };
  id_of({0, b.empty() ? -1 : 0});
  for (size_t i = 0; i < pairs.size() && budget->SpendStates(1); ++i) {
    const auto [state_a, state_b] = pairs[i];
    ByteRuns runs;
    for (const ByteEdge& edge : a.states[static_cast<size_t>(state_a)].edges) runs.Cut(edge);
    if (state_b >= 0) {
      for (const ByteEdge& edge : b.states[static_cast<size_t>(state_b)].edges) runs.Cut(edge);
    }
    ByteDfa::State state;
    state.is_final = is_final(a.states[static_cast<size_t>(state_a)].is_final,
                              state_b >= 0 && b.states[static_cast<size_t>(state_b)].is_final);
    runs.ForEach([&, state_a = state_a, state_b = state_b](uint8_t low, uint8_t high) {
      const int32_t next_a = Next(a, state_a, low);
      const int32_t next_b = Next(b, state_b, low);
      if (next_a < 0 || (needs_b && next_b < 0)) return;
      budget->SpendSteps(1);
      Append({low, high, id_of({next_a, next_b})}, &state.edges);
    });
    result.states.push_back(std::move(state));
  }
  if (!budget->ok()) return {};
  return Trimmed(result);
}

}  // namespace

bool ByteDfa::Accepts(std::string_view text) const {
  int32_t state = empty() ? -1 : 0;
  for (const char byte : text) state = Next(*this, state, static_cast<uint8_t>(byte));
  return state >= 0 && states[static_cast<size_t>(state)].is_final;
}

ByteDfa Determinize(const Automaton& automaton, int32_t start) {
  CompileBudget& budget = automaton.budget();
  std::map<std::vector<int32_t>, int32_t> ids;
  std::vector<std::vector<int32_t>> sets;
  const auto id_of = [&](std::vector<int32_t> closed) {
    std::sort(closed.begin(), closed.end());
    closed.erase(std::unique(closed.begin(), closed.end()), closed.end());
    budget.SpendSteps(static_cast<int64_t>(closed.size()));
    const auto [place, is_new] = ids.try_emplace(std::move(closed), static_cast<int32_t>(sets.size()));
    if (is_new) sets.push_back(place->first);
    return place->second;
  };
  ByteDfa result;
  id_of(automaton.EmptyClosure(start));
  for (size_t i = 0; i < sets.size() && budget.SpendStates(1); ++i) {
    ByteDfa::State state;
    std::vector<ByteEdge> edges;
    ByteRuns runs;
    for (const int32_t member : sets[i]) {
      const Automaton::State& from = automaton.states()[static_cast<size_t>(member)];
      state.is_final = state.is_final || from.is_final;
      edges.insert(edges.end(), from.bytes.begin(), from.bytes.end());
    }
    for (const ByteEdge& edge : edges) runs.Cut(edge);
    runs.ForEach([&](uint8_t low, uint8_t high) {
      std::vector<int32_t> targets;
      budget.SpendSteps(static_cast<int64_t>(edges.size()));
      for (const ByteEdge& edge : edges) {
        if (low < edge.low || low > edge.high || !budget.ok()) continue;
        const std::vector<int32_t> closure = automaton.EmptyClosure(edge.target);
        targets.insert(targets.end(), closure.begin(), closure.end());
      }
      if (!targets.empty()) Append({low, high, id_of(std::move(targets))}, &state.edges);
    });
    result.states.push_back(std::move(state));
  }
  if (!budget.ok()) return {};
  return Trimmed(result);
}

ByteDfa CompileTexts(std::span<const std::string> texts, CompileBudget* budget) {
  Automaton automaton(budget);
  const int32_t start = automaton.AddState();
  for (const std::string& text : texts) {
    const int32_t first = automaton.AddState();
    automaton.AddEmpty(start, first);
    const int32_t end = automaton.AddText(first, text);
    if (budget->ok()) automaton.SetFinal(end);
  }
  return budget->ok() ? Determinize(automaton, start) : ByteDfa();
}

ByteDfa Intersect(const ByteDfa& a, const ByteDfa& b, CompileBudget* budget) {
  return Product(
      a, b, /*needs_b=*/true, [](bool in_a, bool in_b) { return in_a && in_b; }, budget);
}

ByteDfa Subtract(const ByteDfa& a, const ByteDfa& b, CompileBudget* budget) {
  return Product(
      a, b, /*needs_b=*/false, [](bool in_a, bool in_b) { return in_a && !in_b; }, budget);
}

void Embed(const ByteDfa& dfa, int32_t from, int32_t to, Automaton* automaton) {
  std::vector<int32_t> states;
  for (size_t i = 0; i < dfa.states.size() && automaton->budget().ok(); ++i) states.push_back(automaton->AddState());
  if (dfa.empty() || !automaton->budget().ok()) return;
  automaton->AddEmpty(from, states[0]);
  for (size_t i = 0; i < dfa.states.size(); ++i) {
    for (const ByteEdge& edge : dfa.states[i].edges) {
      automaton->AddBytes(states[i], edge.low, edge.high, states[static_cast<size_t>(edge.target)]);
    }
    if (dfa.states[i].is_final) automaton->AddEmpty(states[i], to);
  }
}

}  // namespace switchyard
