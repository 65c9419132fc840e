#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"

namespace switchyard {
Scheduler::Scheduler(const SchedulerConfig& config, PageHash hash) : config_(config), hash_(std::move(hash)) {
  CHECK_GT(config.num_kv_domains, 0);
  CHECK_GT(config.pages_per_domain, 0);
  CHECK_GT(config.page_size, 0);
  CHECK_GT(config.max_batch_tokens, 0);
  CHECK_GT(config.max_running_requests, 0);
  CHECK_GT(config.max_score_rows, 0);
  for (int i = 0; i < config.num_kv_domains; ++i) {
    domains_.push_back(std::make_unique<KvDomain>(config.pages_per_domain, config.page_size,
                                                  config.prefix_caching ? &hash_ : nullptr));
  }
}

absl::Status Scheduler::CanEverRun(int64_t max_cached_tokens) const {
  const int64_t need = PagesFor(max_cached_tokens);
  if (need <= config_.pages_per_domain) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the request may come to ", max_cached_tokens, " tokens, that is ", need, " KV pages of ", config_.page_size,
      " tokens, but there are ", config_.pages_per_domain, " (", config_.pages_per_domain * config_.page_size,
      " tokens); shorten the prompt, lower max_tokens, or raise --kv-cache"));
}

void Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  CHECK(CanEverRun(sequence->max_cached_tokens()).ok());
  auto entry = std::make_unique<Entry>();
  entry->sequence = std::move(sequence);
  entry->arrival = num_arrivals_++;
  Insert(std::move(entry), waiting_);
}

ScheduledStep Scheduler::Schedule(absl::Time now) {
  RemoveFinished();
  Budget budget{.tokens = config_.max_batch_tokens, .score_rows = config_.max_score_rows};
  const uint64_t preemptions_before = num_preemptions_;
  PlanRunning(budget);
  for (const auto& entry : running_) {
    Sequence& sequence = *entry->sequence;
    DomainOf(sequence).Enter(sequence, sequence.num_computed + entry->num_planned);
  }
  // What a preemption freed beyond the need is left to those that grow; else its victim would come and go.
  if (num_preemptions_ == preemptions_before) Admit(now, budget);
  return BuildStep();
}

void Scheduler::PlanRunning(Budget& budget) {
  std::vector<Entry*> order;
  order.reserve(running_.size());
  for (const auto& entry : running_) order.push_back(entry.get());
  std::stable_partition(order.begin(), order.end(), [](const Entry* entry) {
    return entry->sequence->num_tokens() - entry->sequence->num_computed == 1;
  });
  for (Entry* entry : order) {
    if (!entry->running) continue;  // preempted by one before it
    const int64_t num_tokens = ChunkSize(*entry->sequence, budget.tokens, budget.score_rows);
    if (num_tokens > 0 && GrowPages(*entry, num_tokens)) Plan(*entry, num_tokens, budget);
  }
}

bool Scheduler::GrowPages(Entry& entry, int64_t num_tokens) {
  Sequence& sequence = *entry.sequence;
  const int64_t missing = PagesFor(sequence.num_computed + num_tokens) - sequence.pages.size();
  while (!sequence.pages.Grow(missing)) {
    const auto latest = std::find_if(running_.rbegin(), running_.rend(), [&](const std::unique_ptr<Entry>& other) {
      return other->sequence->owner == sequence.owner;
    });
    Entry& victim = **latest;
    Preempt(victim);
    if (&victim == &entry) return false;
  }
  return true;
}

void Scheduler::Preempt(Entry& entry) {
  entry.num_planned = 0;
  entry.running = false;
  entry.sequence->pages.Clear();
  entry.sequence->num_computed = 0;
  const auto place = std::find_if(running_.begin(), running_.end(),
                                  [&](const std::unique_ptr<Entry>& other) { return other.get() == &entry; });
  std::unique_ptr<Entry> owned = std::move(*place);
  running_.erase(place);
  Insert(std::move(owned), waiting_);
  ++num_preemptions_;
}

bool Scheduler::Before(const Entry& a, const Entry& b) {
  const int32_t priority_a = a.sequence->request().priority;
  const int32_t priority_b = b.sequence->request().priority;
  return priority_a != priority_b ? priority_a < priority_b : a.arrival < b.arrival;
}

void Scheduler::Insert(std::unique_ptr<Entry> entry, Queue& queue) {
  const auto place =
      std::upper_bound(queue.begin(), queue.end(), entry,
                       [](const std::unique_ptr<Entry>& a, const std::unique_ptr<Entry>& b) { return Before(*a, *b); });
  queue.insert(place, std::move(entry));
}

std::vector<Scheduler::Room> Scheduler::Rooms() const {
  std::vector<Room> rooms(domains_.size());
  for (size_t i = 0; i < rooms.size(); ++i) rooms[i].pages = domains_[i]->num_free();
  for (const auto& entry : running_) {
    const Sequence& sequence = *entry->sequence;
    Room& room = rooms[static_cast<size_t>(sequence.owner)];
    room.pages -= Reservation(sequence) - sequence.pages.size();
    room.planned_tokens += entry->num_planned;
  }
  return rooms;
}

int64_t Scheduler::Reservation(const Sequence& sequence) const {
  if (config_.reserve_worst_case) return PagesFor(sequence.max_cached_tokens());
  const int64_t known = PagesFor(sequence.num_tokens());
  return known + (PagesFor(sequence.max_cached_tokens()) > known ? 1 : 0);
}

Scheduler::Place Scheduler::ChoosePlace(const std::vector<Room>& rooms, Sequence& sequence) const {
  const int64_t need = config_.reserve_worst_case ? Reservation(sequence) : PagesFor(sequence.num_tokens());
  Place best;
  double best_score = 0;
  for (size_t i = 0; i < rooms.size(); ++i) {
    KvDomain::Match match = domains_[i]->FindPrefix(sequence);
    const int64_t pages_left = rooms[i].pages - (need - match.num_held);
    if (pages_left < 0) continue;
    const int64_t saved_tokens = static_cast<int64_t>(match.pages.size()) * config_.page_size;
    // The share of its pages that is left, less the share of a step's tokens that it computes: memory decides in the
    // long run, work among those with equal memory, and a long common beginning before both.
    const double score =
        static_cast<double>(pages_left) / static_cast<double>(config_.pages_per_domain) -
        static_cast<double>(rooms[i].planned_tokens - saved_tokens) / static_cast<double>(config_.max_batch_tokens);
    if (best.domain >= 0 && score <= best_score) continue;
    best = {.domain = static_cast<int>(i), .match = std::move(match)};
    best_score = score;
  }
  return best;
}

void Scheduler::Admit(absl::Time now, Budget& budget) {
  if (waiting_.empty()) return;
  const int64_t places = std::min(config_.max_running_requests, config_.max_batch_tokens);
  std::vector<Room> rooms = Rooms();
  while (!waiting_.empty() && budget.tokens > 0 && num_running() < places) {
    Sequence& sequence = *waiting_.front()->sequence;
    const Place place = ChoosePlace(rooms, sequence);
    // None that came later may overtake it.
    if (place.domain < 0 || ChunkSize(sequence, budget.tokens, budget.score_rows) == 0) break;
    std::unique_ptr<Entry> entry = std::move(waiting_.front());
    waiting_.pop_front();
    entry->running = true;
    sequence.owner = place.domain;
    KvDomain& domain = DomainOf(sequence);
    domain.Admit(sequence, place.match);
    const int64_t num_tokens = ChunkSize(sequence, budget.tokens, budget.score_rows);
    const int64_t end = sequence.num_computed + num_tokens;
    CHECK(sequence.pages.Grow(PagesFor(end) - sequence.pages.size()));
    domain.Enter(sequence, end);
    if (!sequence.has_run()) CountStart(sequence, now);
    Plan(*entry, num_tokens, budget);
    Room& room = rooms[static_cast<size_t>(place.domain)];
    room.pages -= Reservation(sequence) - place.match.num_held;
    room.planned_tokens += num_tokens;
    Insert(std::move(entry), running_);
  }
}

void Scheduler::CountStart(Sequence& sequence, absl::Time now) {
  sequence.first_scheduled = now;
  sequence.num_cached_tokens = sequence.num_computed;
  if (!config_.prefix_caching || sequence.WantsScores()) return;
  prefix_cache_counts_.queries += static_cast<uint64_t>(sequence.num_prompt_tokens());
  prefix_cache_counts_.hits += static_cast<uint64_t>(sequence.num_cached_tokens);
}

void Scheduler::Plan(Entry& entry, int64_t num_tokens, Budget& budget) {
  entry.num_planned = num_tokens;
  budget.tokens -= num_tokens;
  budget.score_rows -= ScoresAmong(*entry.sequence, num_tokens).size();
}

ScheduledStep Scheduler::BuildStep() const {
  std::vector<const Entry*> planned;
  for (const auto& entry : running_) {
    if (entry->num_planned > 0) planned.push_back(entry.get());
  }
  std::stable_sort(planned.begin(), planned.end(),
                   [](const Entry* a, const Entry* b) { return a->sequence->owner < b->sequence->owner; });
  ScheduledStep step;
  for (const Entry* entry : planned) step.Append(*entry->sequence, entry->num_planned);
  return step;
}

void Scheduler::Advance(const ScheduledStep& step) {
  size_t num_sequences = 0;
  for (const auto& entry : running_) {
    if (entry->num_planned == 0) continue;
    entry->sequence->num_computed += std::exchange(entry->num_planned, 0);
    ++num_sequences;
  }
  CHECK_EQ(num_sequences, step.sequences.size());
}

void Scheduler::RemoveFinished() {
  for (const auto& entry : running_) {
    Sequence& sequence = *entry->sequence;
    if (sequence.finish_reason() == FinishReason::kError) DomainOf(sequence).Forget(sequence);
  }
  const auto is_finished = [](const std::unique_ptr<Entry>& entry) { return entry->sequence->finished(); };
  std::erase_if(running_, is_finished);
  std::erase_if(waiting_, is_finished);
}

Sequence* Scheduler::Find(const std::string& request_id) {
  for (const Queue* queue : {&running_, &waiting_}) {
    for (const auto& entry : *queue) {
      if (entry->sequence->request().id == request_id) return entry->sequence.get();
    }
  }
  return nullptr;
}

std::vector<Sequence*> Scheduler::All() {
  std::vector<const Entry*> entries;
  for (const Queue* queue : {&running_, &waiting_}) {
    for (const auto& entry : *queue) entries.push_back(entry.get());
  }
  std::sort(entries.begin(), entries.end(), [](const Entry* a, const Entry* b) { return Before(*a, *b); });
  std::vector<Sequence*> sequences;
  for (const Entry* entry : entries) sequences.push_back(entry->sequence.get());
  return sequences;
}

std::vector<Sequence*> Scheduler::Overdue(absl::Time now, absl::Time queued_since) {
  std::vector<Sequence*> overdue;
  for (const Queue* queue : {&running_, &waiting_}) {
    for (const auto& entry : *queue) {
      Sequence* sequence = entry->sequence.get();
      const bool waits_too_long = !sequence->has_run() && sequence->submitted() < queued_since;
      if (waits_too_long || sequence->request().deadline <= now) overdue.push_back(sequence);
    }
  }
  return overdue;
}

Scheduler::Backlog Scheduler::backlog() const {
  Backlog backlog;
  for (const auto& entry : waiting_) {
    if (entry->sequence->has_run()) continue;  // preempted
    ++backlog.requests;
    backlog.prompt_tokens += entry->sequence->num_prompt_tokens();
  }
  return backlog;
}

int64_t Scheduler::pages_total() const { return config_.num_kv_domains * config_.pages_per_domain; }

int64_t Scheduler::pages_used() const {
  int64_t used = 0;
  for (const auto& domain : domains_) used += domain->num_used();
  return used;
}

}  // namespace switchyard
