// A finished automaton as a pushdown machine that reads bytes: sets of states are made as they are met, and what stands
// to be done after a called rule lies on a stack.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/constraint/automaton.h"

namespace switchyard {

// Return addresses below each other. Equal stacks have equal numbers; 0 is the bottom. Grows only.
class ReturnStacks {
 public:
  struct Entry {
    int32_t below = 0;
    int32_t set = 0;  // where the caller goes on
  };
  static constexpr int32_t kBottom = 0;

  int32_t Push(Entry entry);
  const Entry& top(int32_t stack) const { return entries_[static_cast<size_t>(stack)]; }

 private:
  std::vector<Entry> entries_ = {Entry()};
  std::unordered_map<uint64_t, int32_t> index_;
};

// One way of reading what was read: a set of states of one rule, and what lies below it.
struct Thread {
  int32_t stack = ReturnStacks::kBottom;
  int32_t set = 0;
  auto operator<=>(const Thread&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
};
using Threads = std::vector<Thread>;  // ascending, no two with the same stack

// Not thread-safe. State sets are numbered as they are met, from 0.
class PushdownStates {
 public:
  // INVALID_ARGUMENT: the rule `root` has no words, or a rule calls itself before it reads a byte.
  // `max_token_bytes`: sets of states that no word of so many bytes can tell apart get one class.
  static absl::StatusOr<PushdownStates> Create(const Automaton& automaton, int32_t root, int32_t max_token_bytes);

  // Before the first byte.
  Thread Start() const { return {.set = start_set_}; }

  // The threads after one more byte; none if no thread can read it. kTooMany: beyond the limits below; nothing is
  // generated from so ambiguous a constraint.
  enum class Outcome { kOk, kTooMany };
  Outcome Advance(const Threads& threads, uint8_t byte, ReturnStacks* stacks, Threads* next);
  // Whether what was read may end here, with nothing left to return to.
  bool MayEnd(const Threads& threads, ReturnStacks* stacks);

  static constexpr size_t kMaxThreads = 512;
  static constexpr size_t kMaxSets = 64 << 10;

  int32_t ClassOf(int32_t set) const { return sets_[static_cast<size_t>(set)].signature_class; }

 private:
  struct State {
    std::vector<ByteEdge> bytes;
    std::vector<CallEdge> calls;
    bool is_final = false;
    int32_t signature = 0;
  };
  struct Call {
    int32_t start_set = 0;
    int32_t return_set = 0;
  };
  struct Set {
    std::vector<int32_t> states;  // ascending
    std::vector<Call> calls;
    bool is_final = false;
    int32_t signature_class = 0;
  };

  PushdownStates() = default;
  // The set of `states`, in any order, with its calls and all sets that these lead to; -1 for none.
  int32_t SetOf(std::vector<int32_t> states);
  // The number of a set; a new one is added to `unlinked`: its calls are missing.
  int32_t Intern(std::vector<int32_t> states, std::vector<int32_t>* unlinked);
  // Adds what the threads reach without a byte: called rules, and returns. True: the bottom was reached.
  bool Close(Threads* threads, ReturnStacks* stacks);
  std::vector<int32_t> Step(int32_t set, uint8_t byte) const;

  std::vector<State> states_;
  std::vector<int32_t> rule_starts_;  // [rules], in states_
  int32_t start_set_ = 0;
  std::vector<Set> sets_;
  std::map<std::vector<int32_t>, int32_t> set_index_;
  std::map<std::vector<int32_t>, int32_t> class_index_;  // of signatures

  friend class PushdownBuilder;
};

}  // namespace switchyard
