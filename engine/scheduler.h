// Continuous batching: which tokens of which sequences the next step computes.
//
// Order: lower priority numbers before higher ones, earlier arrivals before later ones of the same priority.
//
// Rules: sequences that already run come first, decoding ones before prefilling ones, each in that order. A decoding
// sequence takes one token of the budget, a prefilling one as much of its rest as is left (chunked prefill).
// No more sequences run than the budget has tokens: so every decoding sequence advances in every step, and so does the
// first prefilling one.
// Waiting sequences are then admitted strictly in order while tokens, pages and places are left.
// With `reserve_worst_case`, pages are left if those admitted could all become as long as they may: none is ever
// preempted. Without, if all known tokens of those admitted fit, and one page more for each that may outgrow them; when
// pages run out, the last in order in that KV domain gives its pages back and waits at its place in the queue, to be
// recomputed, perhaps in another domain; such a step admits nothing. The first in order of all is never preempted, so
// that every sequence ends unless ever more of a lower priority number arrive.
// With `prefix_caching`, a newcomer begins behind the pages of its domain that hold its beginning, and prefers a domain
// by the work that this saves (kv_domain.h). Pages that nobody holds count as free, whatever is in them.
//
// Not thread-safe: belongs to the engine's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/kv_domain.h"
#include "engine/page_hash.h"
#include "engine/scheduled_step.h"
#include "engine/sequence.h"

namespace switchyard {

struct SchedulerConfig {
  int num_kv_domains = 1;  // ranks, where sequences are divided among them; else 1
  int64_t pages_per_domain = 0;
  int64_t page_size = 16;
  int64_t max_batch_tokens = 2048;
  int64_t max_running_requests = 256;
  bool reserve_worst_case = false;
  bool prefix_caching = false;
  // Score rows are wide ([vocab] logits each): at most so many prompt positions are scored in one step.
  int64_t max_score_rows = 1024;
};

// Tokens of prompts that ran for the first time, scored ones aside, and those of them that were there already.
struct PrefixCacheCounts {
  uint64_t queries = 0;
  uint64_t hits = 0;
};

class Scheduler {
 public:
  // `hash` is for the prefix cache; tests bring their own.
  explicit Scheduler(const SchedulerConfig& config, PageHash hash = RandomlyKeyedPageHash());

  // Whether a sequence can ever run that comes to hold the keys and values of that many tokens; INVALID_ARGUMENT with
  // need, have and the flag that helps.
  absl::Status CanEverRun(int64_t max_cached_tokens) const;
  // CHECKs CanEverRun(sequence->max_cached_tokens()), which guarantees that a sequence alone always fits.
  void Add(std::unique_ptr<Sequence> sequence);
  // Empty only when there is nothing to do; else Advance follows before the next Schedule. The batch's `step` and
  // `exchange` are the caller's to set. The step's pointers are valid until RemoveFinished.
  ScheduledStep Schedule(absl::Time now);
  // After a step: advances what the last Schedule planned; of `step` only the sequences matter. Call before the results
  // are given to the sequences.
  void Advance(const ScheduledStep& step);
  // Drops sequences that have finished; their pages return at once. What failed ones have computed is forgotten.
  void RemoveFinished();
  // Finds a sequence, waiting or running; null if unknown.
  Sequence* Find(const std::string& request_id);
  // All, in order; for failing or aborting them.
  std::vector<Sequence*> All();
  // Those whose deadline has passed, and those that were submitted before `queued_since` and have never run.
  std::vector<Sequence*> Overdue(absl::Time now, absl::Time queued_since);
  // Those that have never run.
  struct Backlog {
    int64_t requests = 0;
    int64_t prompt_tokens = 0;
  };
  Backlog backlog() const;

  bool empty() const { return waiting_.empty() && running_.empty(); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t pages_total() const;
  int64_t pages_used() const;
  uint64_t num_preemptions() const { return num_preemptions_; }
  const PrefixCacheCounts& prefix_cache_counts() const { return prefix_cache_counts_; }

 private:
  struct Entry {
    std::unique_ptr<Sequence> sequence;
    uint64_t arrival = 0;
    int64_t num_planned = 0;  // tokens in the step under way
    bool running = false;
  };
  using Queue = std::deque<std::unique_ptr<Entry>>;  // in order
  // What the step under way has left.
  struct Budget {
    int64_t tokens = 0;
    int64_t score_rows = 0;
  };
  // What a KV domain has left for newcomers.
  struct Room {
    int64_t pages = 0;
    int64_t planned_tokens = 0;
  };
  // Where a newcomer may go.
  struct Place {
    int domain = -1;  // none has room
    KvDomain::Match match;
  };

  static bool Before(const Entry& a, const Entry& b);
  static void Insert(std::unique_ptr<Entry> entry, Queue& queue);
  int64_t PagesFor(int64_t num_tokens) const { return (num_tokens + config_.page_size - 1) / config_.page_size; }
  void PlanRunning(Budget& budget);
  bool GrowPages(Entry& entry, int64_t num_tokens);
  void Preempt(Entry& entry);
  void Admit(absl::Time now, Budget& budget);
  // Pages to keep for a running sequence: all that it may come to need; or those of its known tokens, and one to grow
  // where it may outgrow them.
  int64_t Reservation(const Sequence& sequence) const;
  std::vector<Room> Rooms() const;
  Place ChoosePlace(const std::vector<Room>& rooms, Sequence& sequence) const;
  KvDomain& DomainOf(const Sequence& sequence) { return *domains_[static_cast<size_t>(sequence.owner)]; }
  // What happens once in a sequence's life.
  void CountStart(Sequence& sequence, absl::Time now);
  void Plan(Entry& entry, int64_t num_tokens, Budget& budget);
  ScheduledStep BuildStep() const;

  const SchedulerConfig config_;
  const PageHash hash_;
  std::vector<std::unique_ptr<KvDomain>> domains_;  // outlives the leases in the queues below
  Queue waiting_;
  Queue running_;
  uint64_t num_arrivals_ = 0;
  uint64_t num_preemptions_ = 0;
  PrefixCacheCounts prefix_cache_counts_;
};

}  // namespace switchyard
