// Thousands of steps with random arrivals, lengths, aborts and page pressure, over a model that lives in the pages: a
// position's state is a hash of the state before it, read through the page table, so that a token computed twice, out
// of order or on a page that holds another text changes the output. Half of the runs share prefixes, some with a hash
// that collides all the time.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <random>
#include <set>
#include <utility>

#include "engine/scheduler.h"
#include "tests/engine/recorded_sequence.h"

namespace switchyard {
namespace {

constexpr int32_t kVocabulary = 40;
constexpr int32_t kEos = 0;
constexpr int64_t kMaxLength = 60;

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b + 0x7f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  return x ^ (x >> 27);
}
SampledToken Draw(uint64_t state, const SamplingRow& row) {
  return {.id = static_cast<int32_t>(Mix(state, Mix(row.seed, row.draw)) % kVocabulary)};
}
ScoredToken Score(uint64_t state, const ScoringRow& row) {
  return {.logprob = static_cast<float>(Mix(state, static_cast<uint64_t>(row.target)) % 1000),
          .top1 = static_cast<int32_t>(state % kVocabulary)};
}

// The pages of all domains.
class HashModel {
 public:
  explicit HashModel(const SchedulerConfig& config)
      : page_size_(config.page_size),
        memory_(static_cast<size_t>(config.num_kv_domains),
                std::vector<uint64_t>(static_cast<size_t>(config.pages_per_domain * config.page_size))) {}

  // The state after each token of the batch. A layer of a real model writes all positions before it reads any; here a
  // position is one state, so that pages which sequences of one batch share are right once nothing changes any more.
  std::vector<uint64_t> Compute(const Batch& batch) {
    std::vector<uint64_t> states = ComputeOnce(batch);
    for (std::vector<uint64_t> before; before != states;) before = std::exchange(states, ComputeOnce(batch));
    return states;
  }

 private:
  std::vector<uint64_t> ComputeOnce(const Batch& batch) {
    std::vector<uint64_t> states;
    for (const BatchSequence& sequence : batch.sequences) {
      for (int32_t i = 0; i < sequence.num_tokens; ++i) {
        const int32_t position = sequence.position + i;
        const uint64_t before = position == 0 ? 0 : At(batch, sequence, position - 1);
        const auto token = static_cast<uint64_t>(batch.tokens[static_cast<size_t>(sequence.token_begin + i)]);
        states.push_back(At(batch, sequence, position) = Mix(before, token));
      }
    }
    return states;
  }

  uint64_t& At(const Batch& batch, const BatchSequence& sequence, int64_t position) {
    const int32_t page = batch.pages.at(static_cast<size_t>(sequence.page_begin + position / page_size_));
    return memory_.at(static_cast<size_t>(sequence.owner))
        .at(static_cast<size_t>(page * page_size_ + position % page_size_));
  }
  int64_t page_size_;
  std::vector<std::vector<uint64_t>> memory_;
};

// What a request gives when it is alone, without any scheduler.
Record RunAlone(const GenerationRequest& request, uint64_t seed) {
  Record record;
  auto sequence = MakeSequence(request, &record, {.eos_ids = {kEos}, .max_length = kMaxLength, .seed = seed});
  uint64_t state = 0;
  for (int64_t position = 0; !sequence->finished(); ++position) {
    state = Mix(state, static_cast<uint64_t>(sequence->tokens()[static_cast<size_t>(position)]));
    if (position < sequence->num_prompt_tokens() && sequence->WantsScores()) {
      sequence->AddScores({Score(state, sequence->ScoringRowAt(position))}, {});
    }
    if (position + 1 == static_cast<int64_t>(sequence->tokens().size()) && sequence->WantsTokens()) {
      sequence->AddToken(Draw(state, sequence->NextSamplingRow()), {});
    }
  }
  return record;
}

class Simulation {
 public:
  explicit Simulation(uint32_t seed)
      : random_(seed),
        config_(RandomConfig()),
        model_(config_),
        scheduler_(std::make_unique<Scheduler>(config_, RandomHash())) {}

  void Run() {
    const size_t num_requests = 20 + random_() % 60;
    const uint32_t arrival_odds = 1 + random_() % 6;
    while (jobs_.size() < num_requests || !scheduler_->empty()) {
      while (jobs_.size() < num_requests && random_() % arrival_odds == 0) Submit();
      if (random_() % 40 == 0 && !scheduler_->empty()) AbortOne();
      Step();
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(scheduler_->pages_used(), 0);
    EXPECT_TRUE(!config_.reserve_worst_case || scheduler_->num_preemptions() == 0);
    for (const Job& job : jobs_) CheckResult(job);
  }
  uint64_t num_steps() const { return num_steps_; }
  uint64_t num_preemptions() const { return scheduler_->num_preemptions(); }
  int num_moves() const { return num_moves_; }
  uint64_t num_cached_tokens() const { return scheduler_->prefix_cache_counts().hits; }

 private:
  struct Job {
    GenerationRequest request;
    uint64_t seed = 0;
    Record record;
    // As the batches tell.
    int64_t num_computed = 0;
    uint64_t last_step = 0;
    int32_t owner = -1;
  };

  int64_t Pick(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  Job& JobOf(const Sequence* sequence) { return jobs_.at(std::stoul(sequence->request().id)); }

  SchedulerConfig RandomConfig() {
    SchedulerConfig config;
    config.num_kv_domains = static_cast<int>(Pick(1, 4));
    config.page_size = Pick(1, 8);
    const int64_t longest = (kMaxLength + config.page_size - 1) / config.page_size;
    config.pages_per_domain = Pick(longest, 3 * longest);
    config.max_batch_tokens = Pick(1, 64);
    config.max_running_requests = Pick(1, 16);
    config.reserve_worst_case = Pick(0, 2) == 0;
    config.max_score_rows = Pick(1, Pick(0, 1) == 0 ? 2 : 16);
    config.prefix_caching = Pick(0, 1) == 0;
    return config;
  }

  PageHash RandomHash() {
    const uint64_t num_hashes = Pick(0, 2) == 0 ? 8 : uint64_t{1} << 62;
    return [num_hashes](uint64_t before, std::span<const std::byte> bytes) {
      uint64_t hash = before;
      for (const std::byte byte : bytes) hash = Mix(hash, std::to_integer<uint64_t>(byte));
      return hash % num_hashes;
    };
  }

  void Submit() {
    Job& job = jobs_.emplace_back();
    job.request.id = std::to_string(jobs_.size() - 1);
    for (int64_t i = Pick(1, Pick(0, 1) == 0 ? 8 : 50); i > 0; --i) {
      job.request.prompt.push_back(static_cast<int32_t>(Pick(1, kVocabulary - 1)));
    }
    if (jobs_.size() > 1 && Pick(0, 3) > 0) ShareBeginning(job.request.prompt);
    if (Pick(0, 7) == 0) job.request.cache_salt = "salt";
    if (Pick(0, scoring_odds_) == 0) job.request.num_prompt_logprobs = 0;
    job.request.priority = static_cast<int32_t>(Pick(0, num_priorities_ - 1));
    job.request.stop.max_tokens = static_cast<int32_t>(Pick(job.request.num_prompt_logprobs < 0 ? 1 : 0, 50));
    job.request.stop.ignore_eos = Pick(0, 1) == 0;
    job.seed = random_();
    scheduler_->Add(
        MakeSequence(job.request, &job.record, {.eos_ids = {kEos}, .max_length = kMaxLength, .seed = job.seed}));
  }

  // With an earlier request: some of its prompt and, where it has them already, of its answer.
  void ShareBeginning(std::vector<int32_t>& prompt) {
    const Job& other = jobs_[random_() % (jobs_.size() - 1)];
    std::vector<int32_t> tokens = other.request.prompt;
    const std::vector<int32_t> generated = other.record.TokenIds();
    tokens.insert(tokens.end(), generated.begin(), generated.end());
    const auto length = static_cast<size_t>(std::min<int64_t>(Pick(1, 50), static_cast<int64_t>(tokens.size())));
    prompt.resize(std::max(prompt.size(), length), 1);
    std::copy_n(tokens.begin(), length, prompt.begin());
  }

  void AbortOne() {
    const std::vector<Sequence*> all = scheduler_->All();
    Sequence* sequence = all[random_() % all.size()];
    ASSERT_EQ(scheduler_->Find(sequence->request().id), sequence);
    const int64_t used = scheduler_->pages_used();
    const int64_t held = sequence->pages.size();
    const bool fails = Pick(0, 3) == 0;
    sequence->Fail(fails ? FinishReason::kError : FinishReason::kAborted, absl::CancelledError("aborted"), {});
    scheduler_->RemoveFinished();
    ASSERT_LE(scheduler_->pages_used(), used);
    ASSERT_GE(scheduler_->pages_used(), used - held);
    ASSERT_TRUE(config_.prefix_caching || scheduler_->pages_used() == used - held);
  }

  void Step() {
    const std::vector<Sequence*> all = scheduler_->All();
    std::vector<Sequence*> waiting;
    std::copy_if(all.begin(), all.end(), std::back_inserter(waiting),
                 [](const Sequence* sequence) { return sequence->pages.size() == 0; });
    const bool first_has_run = !all.empty() && all.front()->pages.size() > 0;
    const ScheduledStep step = scheduler_->Schedule(absl::UnixEpoch());
    ASSERT_EQ(step.batch.tokens.empty(), all.empty()) << "work is left undone";
    if (all.empty()) return;
    ++num_steps_;
    ASSERT_TRUE(!first_has_run || all.front()->pages.size() > 0) << "the first in order was preempted";
    ASSERT_EQ(scheduler_->All(), all);
    ASSERT_TRUE(std::is_sorted(all.begin(), all.end(), [](const Sequence* a, const Sequence* b) {
      return a->request().priority < b->request().priority;
    }));
    CheckAdmission(waiting);
    CheckBudgets(step);
    CheckSequences(step, {waiting.begin(), waiting.end()});
    CheckPages(step.batch);
    CheckTurns(all);
    if (testing::Test::HasFatalFailure()) return;

    const std::vector<uint64_t> states = model_.Compute(step.batch);
    scheduler_->Advance(step);
    for (size_t i = 0; i < step.batch.scores.size(); ++i) {
      const ScoreRequest& score = step.batch.scores[i];
      step.sequence_of_score[i]->AddScores({Score(states[static_cast<size_t>(score.token)], score.row)}, {});
    }
    for (size_t i = 0; i < step.batch.samples.size(); ++i) {
      const SampleRequest& sample = step.batch.samples[i];
      step.sequence_of_sample[i]->AddToken(Draw(states[static_cast<size_t>(sample.token)], sample.row), {});
    }
    scheduler_->RemoveFinished();
  }

  void CheckBudgets(const ScheduledStep& step) {
    ASSERT_LE(static_cast<int64_t>(step.batch.tokens.size()), config_.max_batch_tokens);
    ASSERT_LE(static_cast<int64_t>(step.batch.scores.size()), config_.max_score_rows);
    ASSERT_LE(scheduler_->num_running(), std::min(config_.max_running_requests, config_.max_batch_tokens));
    ASSERT_LE(scheduler_->pages_used(), scheduler_->pages_total());
    ASSERT_EQ(step.sequences.size(), step.batch.sequences.size());
    ASSERT_EQ(step.sequence_of_sample.size(), step.batch.samples.size());
    ASSERT_EQ(step.sequence_of_score.size(), step.batch.scores.size());
  }

  // Tokens lie in order, each sequence's follow those computed before, and rows ascend. What waited before the step
  // begins at the beginning, or behind whole pages of others.
  void CheckSequences(const ScheduledStep& step, const std::set<Sequence*>& waiting) {
    const Batch& batch = step.batch;
    const auto by_token = [](const auto& a, const auto& b) { return a.token < b.token; };
    ASSERT_TRUE(std::is_sorted(batch.samples.begin(), batch.samples.end(), by_token));
    ASSERT_TRUE(std::is_sorted(batch.scores.begin(), batch.scores.end(), by_token));
    ASSERT_TRUE(std::is_sorted(batch.sequences.begin(), batch.sequences.end(),
                               [](const auto& a, const auto& b) { return a.owner < b.owner; }));
    int32_t num_tokens = 0;
    std::set<Sequence*> seen;
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      const BatchSequence& part = batch.sequences[i];
      Sequence* sequence = step.sequences[i];
      ASSERT_TRUE(seen.insert(sequence).second);
      ASSERT_EQ(part.token_begin, num_tokens);
      ASSERT_GT(part.num_tokens, 0);
      num_tokens += part.num_tokens;
      Job& job = JobOf(sequence);
      if (waiting.contains(sequence)) {
        num_moves_ += job.num_computed > 0 && part.owner != job.owner ? 1 : 0;
        ASSERT_EQ(part.position % config_.page_size, 0);
        ASSERT_TRUE(part.position == 0 || (config_.prefix_caching && !sequence->WantsScores()));
      } else {
        ASSERT_EQ(part.position, job.num_computed);
        ASSERT_EQ(part.owner, job.owner);
      }
      job.num_computed = part.position + part.num_tokens;
      job.owner = part.owner;
      job.last_step = num_steps_;
      const auto tokens = sequence->tokens().begin() + part.position;
      ASSERT_TRUE(std::equal(tokens, tokens + part.num_tokens, batch.tokens.begin() + part.token_begin));
    }
    ASSERT_EQ(static_cast<size_t>(num_tokens), batch.tokens.size());
  }

  // No page is written by two, and without a prefix cache none is read by two.
  void CheckPages(const Batch& batch) {
    std::set<std::pair<int32_t, int32_t>> seen;
    for (const BatchSequence& part : batch.sequences) {
      const int64_t end = part.position + part.num_tokens;
      ASSERT_EQ(part.num_pages, (end + config_.page_size - 1) / config_.page_size);
      const int64_t first = config_.prefix_caching ? part.position / config_.page_size : 0;
      for (int64_t i = first; i < part.num_pages; ++i) {
        ASSERT_TRUE(seen.emplace(part.owner, batch.pages.at(static_cast<size_t>(part.page_begin + i))).second);
      }
    }
  }

  // First in order, first admitted, also after a preemption.
  static void CheckAdmission(const std::vector<Sequence*>& waiting) {
    ASSERT_TRUE(std::is_partitioned(waiting.begin(), waiting.end(),
                                    [](const Sequence* sequence) { return sequence->pages.size() > 0; }));
  }

  // All that decode and the first that prefills advance; the first in order ends in good time.
  void CheckTurns(const std::vector<Sequence*>& all) {
    bool is_first_to_prefill = true;
    for (const Sequence* sequence : all) {
      if (sequence->pages.size() == 0) continue;
      const int64_t rest = static_cast<int64_t>(sequence->tokens().size()) - sequence->num_computed;
      const bool advances = rest == 1 || std::exchange(is_first_to_prefill, false);
      ASSERT_TRUE(!advances || JobOf(sequence).last_step == num_steps_);
    }
    if (all.front()->request().id != first_id_) {
      first_id_ = all.front()->request().id;
      first_since_ = num_steps_;
    }
    // While others hold its pages, which may not have begun long before it where priorities decide; and then for its
    // own tokens.
    ASSERT_LE(num_steps_ - first_since_, static_cast<uint64_t>((num_priorities_ > 1 ? 4 : 2) * kMaxLength));
  }

  static void CheckResult(const Job& job) {
    const Record alone = RunAlone(job.request, job.seed);
    const Record& record = job.record;
    ASSERT_FALSE(record.updates.empty());
    std::vector<int32_t> expected = alone.TokenIds();
    if (record.last().finish == FinishReason::kAborted || record.last().finish == FinishReason::kError) {
      ASSERT_LE(record.TokenIds().size(), expected.size());
      expected.resize(record.TokenIds().size());
    } else {
      EXPECT_EQ(record.last().finish, alone.last().finish);
      EXPECT_EQ(LogProbs(record), LogProbs(alone));
    }
    EXPECT_EQ(record.TokenIds(), expected) << "request " << job.request.id;
  }

  static std::vector<float> LogProbs(const Record& record) {
    std::vector<float> logprobs;
    for (const RequestUpdate& update : record.updates) {
      if (!update.prompt_logprobs) continue;
      for (const PromptLogProb& entry : *update.prompt_logprobs) logprobs.push_back(entry.logprob);
      logprobs.push_back(static_cast<float>(update.prompt_top1));
    }
    return logprobs;
  }

  std::mt19937 random_;
  const SchedulerConfig config_;
  const int64_t scoring_odds_ = Pick(0, 4);
  const int64_t num_priorities_ = Pick(1, 3);
  HashModel model_;
  std::deque<Job> jobs_;  // by request id; stays put, since sequences borrow the records
  std::unique_ptr<Scheduler> scheduler_;
  uint64_t num_steps_ = 0;
  int num_moves_ = 0;
  std::string first_id_;
  uint64_t first_since_ = 0;
};

TEST(SchedulerProperties, HoldWhateverArrivesAndLeaves) {
  uint64_t num_steps = 0;
  uint64_t num_preemptions = 0;
  int num_moves = 0;
  uint64_t num_cached_tokens = 0;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation simulation(seed);
    simulation.Run();
    if (HasFailure()) return;
    num_steps += simulation.num_steps();
    num_preemptions += simulation.num_preemptions();
    num_moves += simulation.num_moves();
    num_cached_tokens += simulation.num_cached_tokens();
  }
  RecordProperty("steps", static_cast<int>(num_steps));
  RecordProperty("preemptions", static_cast<int>(num_preemptions));
  RecordProperty("cached", static_cast<int>(num_cached_tokens));
  // The simulation must reach what it is to examine.
  EXPECT_GT(num_steps, 10000u);
  EXPECT_GT(num_preemptions, 100u);
  EXPECT_GT(num_moves, 10);
  EXPECT_GT(num_cached_tokens, 5000u);
}

}  // namespace
}  // namespace switchyard
