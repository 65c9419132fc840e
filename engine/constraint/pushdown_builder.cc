// PushdownStates::Create: from an automaton under construction to the states that matter, and what tells them apart.
#include <algorithm>
#include <optional>

#include "engine/constraint/pushdown_states.h"

namespace switchyard {
namespace {

// 128 bits, so that two states that differ never share a signature in practice; if they did, a request would be told
// that its constraint failed.
struct Hash {
  uint64_t a = 0;
  uint64_t b = 0;
  auto operator<=>(const Hash&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
  Hash& operator+=(const Hash& other) {
    a += other.a;
    b += other.b;
    return *this;
  }
};

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

Hash HashOf(uint64_t kind, const Hash& x, const Hash& y) {
  return {Mix(Mix(Mix(kind + 0x9E3779B97F4A7C15u) + x.a) * 3 + y.a),
          Mix(Mix(Mix(kind ^ 0xD1B54A32D192ED03u) + x.b) * 5 + y.b)};
}

}  // namespace

class PushdownBuilder {
 public:
  PushdownBuilder(const Automaton& automaton, int32_t root, int32_t max_token_bytes)
      : budget_(automaton.budget()), root_(root), max_token_bytes_(max_token_bytes) {
    RemoveEmpties(automaton);
  }

  absl::StatusOr<PushdownStates> Build() {
    KeepUseful();
    CheckRecursion();
    if (!budget_.ok()) return budget_.status();
    Sign();
    if (!budget_.ok()) return budget_.status();
    result_.start_set_ = result_.SetOf({result_.rule_starts_[static_cast<size_t>(root_)]});
    return std::move(result_);
  }

 private:
  using State = PushdownStates::State;

  void RemoveEmpties(const Automaton& automaton) {
    result_.states_.resize(automaton.states().size());
    for (size_t i = 0; i < result_.states_.size() && budget_.ok(); ++i) {
      State& state = result_.states_[i];
      for (const int32_t id : automaton.EmptyClosure(static_cast<int32_t>(i))) {
        const Automaton::State& from = automaton.states()[static_cast<size_t>(id)];
        state.is_final = state.is_final || from.is_final;
        state.bytes.insert(state.bytes.end(), from.bytes.begin(), from.bytes.end());
        state.calls.insert(state.calls.end(), from.calls.begin(), from.calls.end());
      }
      budget_.SpendSteps(static_cast<int64_t>(state.bytes.size() + state.calls.size()));
      const auto make_unique = [](auto& edges) {
        std::sort(edges.begin(), edges.end());
        edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
      };
      make_unique(state.bytes);
      make_unique(state.calls);
    }
    for (int32_t rule = 0; rule < automaton.num_rules(); ++rule) result_.rule_starts_.push_back(automaton.start(rule));
  }

  // Finds the states that lead to an end of their rule, and removes every edge to another: whoever stands on a state
  // that is left can always come to an end. Then drops what the root does not reach.
  void KeepUseful() {
    std::vector<State>& states = result_.states_;
    const size_t count = states.size();
    std::vector<std::vector<int32_t>> dependents(count);  // states with an edge to, or a call of, this one
    for (size_t i = 0; i < count; ++i) {
      const auto self = static_cast<int32_t>(i);
      for (const ByteEdge& edge : states[i].bytes) dependents[static_cast<size_t>(edge.target)].push_back(self);
      for (const CallEdge& edge : states[i].calls) {
        dependents[static_cast<size_t>(edge.target)].push_back(self);
        dependents[StartOf(edge.rule)].push_back(self);
      }
    }
    std::vector<bool> alive(count);
    std::vector<int32_t> work;
    const auto revive = [&](size_t i) {
      if (alive[i]) return;
      const State& state = states[i];
      const bool lives = state.is_final ||
                         std::any_of(state.bytes.begin(), state.bytes.end(),
                                     [&](const ByteEdge& edge) { return alive[static_cast<size_t>(edge.target)]; }) ||
                         std::any_of(state.calls.begin(), state.calls.end(), [&](const CallEdge& edge) {
                           return alive[static_cast<size_t>(edge.target)] && alive[StartOf(edge.rule)];
                         });
      budget_.SpendSteps(1);
      if (!lives) return;
      alive[i] = true;
      work.push_back(static_cast<int32_t>(i));
    };
    for (size_t i = 0; i < count; ++i) {
      if (states[i].is_final) revive(i);
    }
    while (!work.empty() && budget_.ok()) {
      const auto state = static_cast<size_t>(work.back());
      work.pop_back();
      for (const int32_t dependent : dependents[state]) revive(static_cast<size_t>(dependent));
    }
    if (!alive[StartOf(root_)]) {
      budget_.Fail(absl::InvalidArgumentError("no text satisfies it: its parts contradict each other or never end"));
      return;
    }
    for (State& state : states) {
      std::erase_if(state.bytes, [&](const ByteEdge& edge) { return !alive[static_cast<size_t>(edge.target)]; });
      std::erase_if(state.calls, [&](const CallEdge& edge) {
        return !alive[static_cast<size_t>(edge.target)] || !alive[StartOf(edge.rule)];
      });
    }
    DropUnreached();
  }

  void DropUnreached() {
    std::vector<State>& states = result_.states_;
    std::vector<int32_t> renamed(states.size(), -1);
    std::vector<int32_t> order;
    const auto reach = [&](int32_t state) {
      if (renamed[static_cast<size_t>(state)] >= 0) return;
      renamed[static_cast<size_t>(state)] = static_cast<int32_t>(order.size());
      order.push_back(state);
    };
    reach(static_cast<int32_t>(StartOf(root_)));
    for (size_t i = 0; i < order.size(); ++i) {
      const State& state = states[static_cast<size_t>(order[i])];
      for (const ByteEdge& edge : state.bytes) reach(edge.target);
      for (const CallEdge& edge : state.calls) {
        reach(edge.target);
        reach(static_cast<int32_t>(StartOf(edge.rule)));
      }
    }
    std::vector<State> kept;
    for (const int32_t id : order) {
      State state = std::move(states[static_cast<size_t>(id)]);
      for (ByteEdge& edge : state.bytes) edge.target = renamed[static_cast<size_t>(edge.target)];
      for (CallEdge& edge : state.calls) edge.target = renamed[static_cast<size_t>(edge.target)];
      kept.push_back(std::move(state));
    }
    states = std::move(kept);
    for (int32_t& start : result_.rule_starts_) start = renamed[static_cast<size_t>(start)];
  }

  // A rule whose start calls a rule whose start calls ... itself would be entered for ever. No rule has an empty word
  // where a call could be followed by another without a byte: values are never empty.
  void CheckRecursion() {
    if (!budget_.ok()) return;
    enum Mark : uint8_t { kNew, kOpen, kDone };
    std::vector<Mark> marks(result_.rule_starts_.size(), kNew);
    struct Visit {
      int32_t rule;
      size_t next_call;
    };
    std::vector<Visit> path;
    for (size_t rule = 0; rule < marks.size(); ++rule) {
      if (marks[rule] != kNew || result_.rule_starts_[rule] < 0) continue;
      marks[rule] = kOpen;
      path.push_back({static_cast<int32_t>(rule), 0});
      while (!path.empty()) {
        Visit& visit = path.back();
        const std::vector<CallEdge>& calls = result_.states_[StartOf(visit.rule)].calls;
        if (visit.next_call == calls.size()) {
          marks[static_cast<size_t>(visit.rule)] = kDone;
          called_first_.push_back(visit.rule);
          path.pop_back();
          continue;
        }
        const auto called = static_cast<size_t>(calls[visit.next_call++].rule);
        if (marks[called] == kOpen) {
          budget_.Fail(absl::InvalidArgumentError(
              "a $ref leads back to its own schema with no object or array in between; remove the cycle"));
          return;
        }
        if (marks[called] == kDone) continue;
        marks[called] = kOpen;
        path.push_back({static_cast<int32_t>(called), 0});
      }
    }
  }

  // Refines signatures by what follows, a byte further each round, until no token is long enough to tell more. A call
  // reads no byte: so the start of a called rule counts with what this round found, the state behind the call, which
  // the rule's first byte comes before, with what the last one did.
  void Sign() {
    const std::vector<State>& states = result_.states_;
    std::vector<Hash> hashes(states.size());
    int64_t num_edges = 0;
    for (size_t i = 0; i < states.size(); ++i) {
      hashes[i] = HashOf(states[i].is_final ? 1 : 2, {}, {});
      num_edges += static_cast<int64_t>(states[i].bytes.size() + states[i].calls.size());
    }
    size_t num_classes = Number(hashes);
    for (int32_t round = 0; round < max_token_bytes_ && budget_.SpendSteps(num_edges / 4 + 1); ++round) {
      std::vector<Hash> refined(states.size());
      std::vector<bool> done(states.size());
      const auto refine = [&](size_t i) {
        if (done[i]) return;
        done[i] = true;
        Hash hash = HashOf(states[i].is_final ? 1 : 2, {}, {});
        for (const ByteEdge& edge : states[i].bytes) {
          const uint64_t bytes = uint64_t{edge.low} << 8 | edge.high;
          hash += HashOf(uint64_t{3} << 16 | bytes, hashes[static_cast<size_t>(edge.target)], {});
        }
        for (const CallEdge& edge : states[i].calls) {
          hash += HashOf(uint64_t{4} << 16, refined[StartOf(edge.rule)], hashes[static_cast<size_t>(edge.target)]);
        }
        refined[i] = hash;
      };
      for (const int32_t rule : called_first_) refine(StartOf(rule));
      for (size_t i = 0; i < states.size(); ++i) refine(i);
      hashes = std::move(refined);
      const size_t now = Number(hashes);
      if (now == num_classes) break;  // no class was divided, so none ever will be
      num_classes = now;
    }
  }

  // Signatures are the places of the hashes in their order; returns how many there are.
  size_t Number(const std::vector<Hash>& hashes) {
    std::vector<Hash> distinct = hashes;
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    for (size_t i = 0; i < hashes.size(); ++i) {
      result_.states_[i].signature =
          static_cast<int32_t>(std::lower_bound(distinct.begin(), distinct.end(), hashes[i]) - distinct.begin());
    }
    return distinct.size();
  }

  size_t StartOf(int32_t rule) const { return static_cast<size_t>(result_.rule_starts_[static_cast<size_t>(rule)]); }

  CompileBudget& budget_;
  const int32_t root_;
  const int32_t max_token_bytes_;
  std::vector<int32_t> called_first_;  // rules, each behind those that its start calls
  PushdownStates result_;
};

absl::StatusOr<PushdownStates> PushdownStates::Create(const Automaton& automaton, int32_t root,
                                                      int32_t max_token_bytes) {
  if (!automaton.budget().ok()) return automaton.budget().status();
  return PushdownBuilder(automaton, root, max_token_bytes).Build();
}

}  // namespace switchyard
