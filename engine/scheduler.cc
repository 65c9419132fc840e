#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

int64_t NumTokens(const Sequence& sequence) { return static_cast<int64_t>(sequence.tokens().size()); }

// Prompt positions that get a score if the next `num_tokens` tokens are computed: [begin, end). A sequence that is
// computed again does not score again.
struct ScoreRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return std::max<int64_t>(0, end - begin); }
};

ScoreRange ScoresAmong(const Sequence& sequence, int64_t num_tokens) {
  if (!sequence.WantsScores()) return {};
  return {.begin = std::max(sequence.num_computed, sequence.num_scored()),
          .end = std::min(sequence.num_computed + num_tokens, sequence.num_prompt_tokens())};
}

// The next tokens to compute, within what the step has left; 0: not in this step.
int64_t ChunkSize(const Sequence& sequence, int64_t max_tokens, int64_t max_score_rows) {
  const int64_t rest = NumTokens(sequence) - sequence.num_computed;
  CHECK_GT(rest, 0);
  const int64_t size = std::min(rest, max_tokens);
  const ScoreRange scores = ScoresAmong(sequence, size);
  if (scores.size() <= max_score_rows) return size;
  return scores.begin + max_score_rows - sequence.num_computed;
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config) : config_(config) {
  CHECK_GT(config.num_kv_domains, 0);
  CHECK_GT(config.pages_per_domain, 0);
  CHECK_GT(config.page_size, 0);
  CHECK_GT(config.max_batch_tokens, 0);
  CHECK_GT(config.max_running_requests, 0);
  CHECK_GT(config.max_score_rows, 0);
  for (int i = 0; i < config.num_kv_domains; ++i) {
    domains_.push_back(std::make_unique<PageAllocator>(config.pages_per_domain));
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
  // What a preemption freed beyond the need is left to those that grow; else its victim would come and go.
  if (num_preemptions_ == preemptions_before) Admit(now, budget);
  return BuildStep();
}

void Scheduler::PlanRunning(Budget& budget) {
  std::vector<Entry*> order;
  order.reserve(running_.size());
  for (const auto& entry : running_) order.push_back(entry.get());
  std::stable_partition(order.begin(), order.end(), [](const Entry* entry) {
    return NumTokens(*entry->sequence) - entry->sequence->num_computed == 1;
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
  const int64_t known = PagesFor(NumTokens(sequence));
  return known + (PagesFor(sequence.max_cached_tokens()) > known ? 1 : 0);
}

int Scheduler::ChooseDomain(const std::vector<Room>& rooms, int64_t num_pages) const {
  int best = -1;
  double best_score = 0;
  for (size_t i = 0; i < rooms.size(); ++i) {
    if (rooms[i].pages < num_pages) continue;
    // The share of its pages that is left, less the share of the step's tokens that it computes: memory decides in the
    // long run, work among those with equal memory.
    const double score = static_cast<double>(rooms[i].pages) / static_cast<double>(config_.pages_per_domain) -
                         static_cast<double>(rooms[i].planned_tokens) / static_cast<double>(config_.max_batch_tokens);
    if (best >= 0 && score <= best_score) continue;
    best = static_cast<int>(i);
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
    const int64_t num_tokens = ChunkSize(sequence, budget.tokens, budget.score_rows);
    const int domain =
        ChooseDomain(rooms, config_.reserve_worst_case ? Reservation(sequence) : PagesFor(NumTokens(sequence)));
    if (num_tokens == 0 || domain < 0) break;  // none that came later may overtake it
    std::unique_ptr<Entry> entry = std::move(waiting_.front());
    waiting_.pop_front();
    entry->running = true;
    sequence.owner = domain;
    sequence.pages = PageLease(domains_[static_cast<size_t>(domain)].get());
    CHECK(sequence.pages.Grow(PagesFor(num_tokens)));
    if (!sequence.has_run()) sequence.first_scheduled = now;
    Plan(*entry, num_tokens, budget);
    rooms[static_cast<size_t>(domain)].pages -= Reservation(sequence);
    rooms[static_cast<size_t>(domain)].planned_tokens += num_tokens;
    Insert(std::move(entry), running_);
  }
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
  Batch& batch = step.batch;
  for (const Entry* entry : planned) {
    Sequence* sequence = entry->sequence.get();
    const int64_t begin = sequence->num_computed;
    const int64_t end = begin + entry->num_planned;
    const auto token_begin = static_cast<int32_t>(batch.tokens.size());
    const auto token_at = [&](int64_t position) { return token_begin + static_cast<int32_t>(position - begin); };
    batch.sequences.push_back({.owner = sequence->owner,
                               .token_begin = token_begin,
                               .num_tokens = static_cast<int32_t>(entry->num_planned),
                               .position = static_cast<int32_t>(begin),
                               .page_begin = static_cast<int32_t>(batch.pages.size()),
                               .num_pages = static_cast<int32_t>(sequence->pages.size())});
    step.sequences.push_back(sequence);
    batch.tokens.insert(batch.tokens.end(), sequence->tokens().begin() + begin, sequence->tokens().begin() + end);
    batch.pages.insert(batch.pages.end(), sequence->pages.pages().begin(), sequence->pages.pages().end());
    const ScoreRange scores = ScoresAmong(*sequence, entry->num_planned);
    for (int64_t position = scores.begin; position < scores.end; ++position) {
      batch.scores.push_back({.token = token_at(position), .row = sequence->ScoringRowAt(position)});
      step.sequence_of_score.push_back(sequence);
    }
    if (end == NumTokens(*sequence) && sequence->WantsTokens()) {
      batch.samples.push_back({.token = token_at(end - 1),
                               .row = sequence->NextSamplingRow(),
                               .with_experts = sequence->request().return_experts});
      step.sequence_of_sample.push_back(sequence);
    }
  }
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
