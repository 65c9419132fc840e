#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <deque>

#include "tests/engine/recorded_sequence.h"

namespace switchyard {
namespace {

class SchedulerRules : public testing::Test {
 protected:
  void Start(const SchedulerConfig& config) { scheduler_ = std::make_unique<Scheduler>(config); }

  Sequence* Add(int64_t prompt_tokens, int32_t max_tokens, int32_t num_prompt_logprobs = -1) {
    return Add(prompt_tokens, max_tokens, num_prompt_logprobs, GenerationRequest());
  }
  Sequence* AddWithPriority(int32_t priority, int64_t prompt_tokens, int32_t max_tokens) {
    GenerationRequest request;
    request.priority = priority;
    return Add(prompt_tokens, max_tokens, -1, request);
  }
  Sequence* Add(int64_t prompt_tokens, int32_t max_tokens, int32_t num_prompt_logprobs, GenerationRequest request) {
    request.id = std::string(1, static_cast<char>('a' + records_.size()));
    for (int64_t i = 0; i < prompt_tokens; ++i) request.prompt.push_back(static_cast<int32_t>(100 + i));
    request.stop.max_tokens = max_tokens;
    request.num_prompt_logprobs = num_prompt_logprobs;
    auto sequence = MakeSequence(std::move(request), &records_.emplace_back());
    Sequence* borrowed = sequence.get();
    scheduler_->Add(std::move(sequence));
    return borrowed;
  }

  ScheduledStep Schedule() { return scheduler_->Schedule(absl::UnixEpoch() + absl::Seconds(++now_)); }

  // Schedules and hands every row a result.
  ScheduledStep Step() {
    ScheduledStep step = Schedule();
    scheduler_->Advance(step);
    for (Sequence* sequence : step.sequence_of_score) sequence->AddScores({{.logprob = 0, .top1 = 1}}, {});
    for (Sequence* sequence : step.sequence_of_sample) sequence->AddToken({.id = 7}, {});
    return step;
  }

  // "a:3 b:1": the tokens that each gets.
  static std::string Tokens(const ScheduledStep& step) {
    std::string text;
    for (size_t i = 0; i < step.sequences.size(); ++i) {
      text += (i == 0 ? "" : " ") + step.sequences[i]->request().id + ":" +
              std::to_string(step.batch.sequences[i].num_tokens);
    }
    return text;
  }

  std::deque<Record> records_;  // before the scheduler, which ends later: its sequences borrow them
  std::unique_ptr<Scheduler> scheduler_;
  int now_ = 0;
};

TEST_F(SchedulerRules, LaysOutTokensPagesAndRowsOfABatch) {
  Start({.pages_per_domain = 10, .page_size = 4});
  Sequence* a = Add(5, 3);
  Sequence* b = Add(2, 3, /*num_prompt_logprobs=*/0);
  const ScheduledStep step = Schedule();
  const Batch& batch = step.batch;
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{100, 101, 102, 103, 104, 100, 101}));
  EXPECT_EQ(batch.pages, (std::vector<int32_t>{0, 1, 2}));
  ASSERT_EQ(batch.sequences.size(), 2u);
  EXPECT_EQ(batch.sequences[1].token_begin, 5);
  EXPECT_EQ(batch.sequences[1].num_tokens, 2);
  EXPECT_EQ(batch.sequences[1].position, 0);
  EXPECT_EQ(batch.sequences[1].page_begin, 2);
  EXPECT_EQ(batch.sequences[1].num_pages, 1);
  ASSERT_EQ(batch.samples.size(), 2u);
  EXPECT_EQ(batch.samples[0].token, 4);
  EXPECT_EQ(batch.samples[1].token, 6);
  ASSERT_EQ(batch.scores.size(), 2u);
  EXPECT_EQ(batch.scores[0].token, 5);
  EXPECT_EQ(batch.scores[0].row.target, 101);
  EXPECT_EQ(batch.scores[1].token, 6);
  EXPECT_EQ(batch.scores[1].row.target, -1);
  EXPECT_EQ(step.sequences, (std::vector<Sequence*>{a, b}));
  EXPECT_EQ(step.sequence_of_sample, (std::vector<Sequence*>{a, b}));
  EXPECT_EQ(step.sequence_of_score, (std::vector<Sequence*>{b, b}));
}

TEST_F(SchedulerRules, PrefillsInChunksAndSamplesAfterTheLast) {
  Start({.pages_per_domain = 10, .page_size = 4, .max_batch_tokens = 4});
  Sequence* a = Add(10, 3);
  EXPECT_TRUE(Step().batch.samples.empty());
  EXPECT_EQ(a->num_computed, 4);
  EXPECT_TRUE(Step().batch.samples.empty());
  const ScheduledStep last = Step();
  EXPECT_EQ(Tokens(last), "a:2");
  EXPECT_EQ(last.batch.sequences[0].position, 8);
  ASSERT_EQ(last.batch.samples.size(), 1u);
  EXPECT_EQ(last.batch.samples[0].token, 1);
  const ScheduledStep decode = Step();
  EXPECT_EQ(decode.batch.tokens, (std::vector<int32_t>{7}));
  EXPECT_EQ(decode.batch.samples[0].row.draw, 1u);
}

TEST_F(SchedulerRules, DecodesBeforeItPrefillsWithWhatIsLeft) {
  Start({.pages_per_domain = 20, .page_size = 4, .max_batch_tokens = 4});
  Add(2, 9);
  Add(9, 9);
  EXPECT_EQ(Tokens(Step()), "a:2 b:2");
  EXPECT_EQ(Tokens(Step()), "a:1 b:3");
  Add(3, 9);
  EXPECT_EQ(Tokens(Step()), "a:1 b:3");
  EXPECT_EQ(Tokens(Step()), "a:1 b:1 c:2");
}

TEST_F(SchedulerRules, RunsNoMoreThanTheBudgetHasTokensSoThatAllAdvance) {
  Start({.pages_per_domain = 20, .page_size = 4, .max_batch_tokens = 3});
  Add(2, 9);
  Add(2, 9);
  EXPECT_EQ(Tokens(Step()), "a:2 b:1");
  Add(1, 9);
  EXPECT_EQ(Tokens(Step()), "a:1 b:1 c:1");
  Add(1, 9);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(Tokens(Step()), "a:1 b:1 c:1");
  EXPECT_EQ(scheduler_->num_waiting(), 1);
  EXPECT_EQ(Tokens(Step()), "b:1 c:1 d:1");
}

// A sequence that waits for score rows takes no token, but will when it decodes.
TEST_F(SchedulerRules, KeepsATokenForARunningSequenceThatGetsNone) {
  Start({.pages_per_domain = 20, .page_size = 4, .max_batch_tokens = 4, .max_score_rows = 1});
  Add(10, 9, 0);
  Sequence* b = Add(6, 9, 0);
  b->AddScores(std::vector<ScoredToken>(3, {.logprob = 0, .top1 = 1}), {});  // as if preempted after three
  for (int i = 0; i < 3; ++i) Add(1, 9);
  EXPECT_EQ(Tokens(Step()), "a:1 b:3");
  EXPECT_EQ(Tokens(Step()), "a:1 c:1 d:1");
  EXPECT_EQ(scheduler_->num_running(), 4);
}

TEST_F(SchedulerRules, AdmitsNoMoreThanThePlaces) {
  Start({.pages_per_domain = 20, .max_running_requests = 2});
  for (int i = 0; i < 3; ++i) Add(1, 2);
  EXPECT_EQ(Tokens(Step()), "a:1 b:1");
  EXPECT_EQ(Tokens(Step()), "a:1 b:1");
  EXPECT_EQ(Tokens(Step()), "c:1");
  EXPECT_EQ(scheduler_->num_running(), 1);
}

TEST_F(SchedulerRules, LetsNoneOvertakeTheFirstOfTheQueue) {
  Start({.pages_per_domain = 4, .page_size = 4});
  Add(8, 1);
  Add(12, 1);  // needs three pages of which two are free
  Add(1, 1);   // would fit
  EXPECT_EQ(Tokens(Step()), "a:8");
  EXPECT_EQ(Tokens(Step()), "b:12 c:1");
}

TEST_F(SchedulerRules, KeepsPagesForTheRestOfAPromptThatRuns) {
  Start({.pages_per_domain = 4, .page_size = 4, .max_score_rows = 4});
  Add(12, 1, /*num_prompt_logprobs=*/0);
  Add(8, 1);  // two of the three free pages will be the first one's
  EXPECT_EQ(Tokens(Step()), "a:4");
  EXPECT_EQ(Tokens(Step()), "a:4");
  EXPECT_EQ(Tokens(Step()), "a:4");
  EXPECT_EQ(Tokens(Step()), "b:8");
}

TEST_F(SchedulerRules, KeepsAPageForASequenceThatMayOutgrowItsOwn) {
  Start({.pages_per_domain = 3, .page_size = 4});
  Add(3, 2);  // four tokens at most
  Add(8, 1);
  EXPECT_EQ(Tokens(Step()), "a:3 b:8");
  Start({.pages_per_domain = 3, .page_size = 4});
  Add(3, 3);
  Add(8, 1);
  EXPECT_EQ(Tokens(Step()), "c:3");
  EXPECT_EQ(Tokens(Step()), "c:1");
}

TEST_F(SchedulerRules, PreemptsTheLatestArrivalWhichWaitsFirst) {
  Start({.pages_per_domain = 6, .page_size = 2, .max_running_requests = 3});
  Sequence* a = Add(4, 7);
  Sequence* b = Add(4, 7);
  EXPECT_EQ(Tokens(Step()), "a:4 b:4");
  Add(1, 2);
  EXPECT_EQ(Tokens(Step()), "a:1 b:1");
  EXPECT_EQ(Tokens(Step()), "a:1 b:1");
  EXPECT_EQ(scheduler_->pages_used(), 6);
  EXPECT_EQ(Tokens(Step()), "a:1");
  EXPECT_EQ(scheduler_->num_preemptions(), 1u);
  EXPECT_EQ(b->num_computed, 0);
  EXPECT_EQ(b->pages.size(), 0);
  EXPECT_EQ(scheduler_->All(), (std::vector<Sequence*>{a, b, scheduler_->Find("c")}));
  while (!a->finished()) EXPECT_EQ(Tokens(Step()), "a:1") << "c would fit but must not overtake b";
  const ScheduledStep again = Step();
  EXPECT_EQ(Tokens(again), "b:7 c:1");
  EXPECT_EQ(again.batch.samples[0].row.draw, 3u) << "goes on where it was";
  EXPECT_EQ(again.batch.tokens[6], 7);
  EXPECT_EQ(b->first_scheduled, absl::UnixEpoch() + absl::Seconds(1)) << "the queue is left only once";
}

TEST_F(SchedulerRules, DoesNotScoreAgainWhatItComputesAgain) {
  Start({.pages_per_domain = 6, .page_size = 2});
  Add(4, 7);
  Sequence* b = Add(4, 7, /*num_prompt_logprobs=*/0);
  EXPECT_EQ(Step().batch.scores.size(), 4u);
  while (scheduler_->num_preemptions() == 0) Step();
  EXPECT_EQ(b->num_computed, 0);
  while (b->num_computed == 0) EXPECT_TRUE(Step().batch.scores.empty());
  EXPECT_EQ(records_[1].updates.front().prompt_logprobs->size(), 3u);
}

TEST_F(SchedulerRules, ScoresNoMorePositionsPerStepThanAllowed) {
  Start({.pages_per_domain = 20, .page_size = 4, .max_score_rows = 3});
  Add(4, 0, 0);
  Add(4, 2, 0);
  Add(4, 2);
  EXPECT_EQ(Tokens(Step()), "a:3");
  EXPECT_EQ(Tokens(Step()), "a:1 b:2 c:4");
  EXPECT_TRUE(records_[0].last().finish);
  EXPECT_EQ(Tokens(Step()), "b:2 c:1");
  EXPECT_EQ(Tokens(Step()), "b:1");
  EXPECT_TRUE(records_[2].last().finish);
}

TEST_F(SchedulerRules, SpreadsSequencesOverDomainsAndOrdersTheBatchByThem) {
  Start({.num_kv_domains = 2, .pages_per_domain = 10, .page_size = 4});
  Sequence* a = Add(8, 9);
  Sequence* b = Add(4, 9);
  Sequence* c = Add(4, 9);
  const ScheduledStep step = Step();
  EXPECT_EQ(a->owner, 0);
  EXPECT_EQ(b->owner, 1);
  EXPECT_EQ(c->owner, 1);
  EXPECT_EQ(Tokens(step), "a:8 b:4 c:4");
  Sequence* d = Add(1, 9);
  EXPECT_EQ(Tokens(Step()), "a:1 d:1 b:1 c:1");
  EXPECT_EQ(d->owner, 0);
  EXPECT_EQ(scheduler_->pages_total(), 20);
}

TEST_F(SchedulerRules, PrefersTheDomainWithLessWorkWhereMemoryIsEqual) {
  Start({.num_kv_domains = 2, .pages_per_domain = 10, .page_size = 4});
  Add(4, 1);
  Add(3, 1);
  Sequence* c = Add(1, 1);
  Step();
  EXPECT_EQ(c->owner, 1);
  Start({.num_kv_domains = 2, .pages_per_domain = 10, .page_size = 4});
  Add(1, 2);
  Add(5, 2);
  Add(1, 2);
  EXPECT_EQ(Tokens(Step()), "d:1 f:1 e:5");  // two pages each
  Add(1, 1);
  EXPECT_EQ(Tokens(Step()), "d:1 f:1 e:1 g:1");
}

TEST_F(SchedulerRules, BalancesRunningSequencesOfEqualSize) {
  Start({.num_kv_domains = 4, .pages_per_domain = 100, .page_size = 4});
  std::vector<Sequence*> sequences;
  for (int i = 0; i < 12; ++i) {
    sequences.push_back(Add(5, 50));
    Step();
  }
  std::vector<int> load(4);
  for (const Sequence* sequence : sequences) ++load[static_cast<size_t>(sequence->owner)];
  EXPECT_EQ(load, (std::vector<int>{3, 3, 3, 3}));
}

TEST_F(SchedulerRules, ComputesAPreemptedSequenceAgainWhereThereIsRoom) {
  Start({.num_kv_domains = 2, .pages_per_domain = 6, .page_size = 2});
  Add(4, 7);
  Sequence* b = Add(8, 3);
  Sequence* c = Add(4, 5);
  Step();
  ASSERT_EQ(b->owner, 1);
  ASSERT_EQ(c->owner, 0);
  while (scheduler_->num_preemptions() == 0) Step();
  EXPECT_EQ(c->num_computed, 0);
  while (c->num_computed == 0) Step();
  EXPECT_EQ(c->owner, 1);
  EXPECT_EQ(scheduler_->num_preemptions(), 1u);
}

TEST_F(SchedulerRules, ReturnsThePagesOfFinishedAndAbortedSequencesAtOnce) {
  Start({.pages_per_domain = 6, .page_size = 2, .max_running_requests = 2});
  Sequence* a = Add(4, 7);
  Add(2, 1);
  Sequence* c = Add(2, 1);
  Step();
  EXPECT_EQ(scheduler_->pages_used(), 3);
  a->Fail(FinishReason::kAborted, absl::CancelledError(""), {});
  c->Fail(FinishReason::kAborted, absl::CancelledError(""), {});
  scheduler_->RemoveFinished();
  EXPECT_EQ(scheduler_->pages_used(), 0);
  EXPECT_TRUE(scheduler_->empty());
  EXPECT_TRUE(Schedule().batch.tokens.empty());
}

TEST_F(SchedulerRules, FindsSequencesWaitingAndRunning) {
  Start({.pages_per_domain = 6, .max_running_requests = 1});
  Sequence* a = Add(1, 2);
  Sequence* b = Add(1, 2);
  Step();
  EXPECT_EQ(scheduler_->Find("a"), a);
  EXPECT_EQ(scheduler_->Find("b"), b);
  EXPECT_EQ(scheduler_->Find("c"), nullptr);
  EXPECT_EQ(a->first_scheduled, absl::UnixEpoch() + absl::Seconds(1));
  EXPECT_EQ(b->first_scheduled, absl::InfinitePast());
}

TEST_F(SchedulerRules, AdmitsLowerPriorityNumbersFirstAndEqualsByArrival) {
  Start({.pages_per_domain = 10, .page_size = 4, .max_running_requests = 1});
  AddWithPriority(1, 2, 1);
  AddWithPriority(0, 2, 1);
  AddWithPriority(0, 2, 1);
  AddWithPriority(-5, 2, 1);
  std::string order;
  for (int i = 0; i < 4; ++i) order += Tokens(Step()) + " ";
  EXPECT_EQ(order, "d:2 b:2 c:2 a:2 ");
}

TEST_F(SchedulerRules, PreemptsTheHighestPriorityNumberWhateverItsArrival) {
  Start({.pages_per_domain = 6, .page_size = 2});
  Sequence* early = AddWithPriority(1, 4, 7);
  Sequence* urgent = AddWithPriority(0, 4, 7);
  EXPECT_EQ(Tokens(Step()), "b:4 a:4");
  while (scheduler_->num_preemptions() == 0) Step();
  EXPECT_EQ(early->pages.size(), 0);
  EXPECT_GT(urgent->pages.size(), 0);
  EXPECT_EQ(scheduler_->All(), (std::vector<Sequence*>{urgent, early}));
}

TEST_F(SchedulerRules, ReservingTheWorstCaseAdmitsOnlyWhatCanFinish) {
  Start({.pages_per_domain = 4, .page_size = 2, .reserve_worst_case = true});
  Add(2, 5);  // 6 cached tokens at most: 3 pages
  Add(1, 3);  // 2 pages
  EXPECT_EQ(Tokens(Step()), "a:2");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Tokens(Step()), "a:1");
  EXPECT_EQ(Tokens(Step()), "b:1");
  EXPECT_EQ(scheduler_->num_preemptions(), 0u);
}

TEST_F(SchedulerRules, CountsThoseThatHaveNeverRunAsBacklog) {
  Start({.pages_per_domain = 10, .page_size = 4, .max_running_requests = 1});
  Add(2, 3);
  Add(5, 3);
  Add(7, 3);
  EXPECT_EQ(scheduler_->backlog().requests, 3);
  EXPECT_EQ(scheduler_->backlog().prompt_tokens, 14);
  Step();
  EXPECT_EQ(scheduler_->backlog().requests, 2);
  EXPECT_EQ(scheduler_->backlog().prompt_tokens, 12);
}

TEST_F(SchedulerRules, FindsWhatWaitsTooLongAndWhatHasPassedItsDeadline) {
  Start({.pages_per_domain = 10, .page_size = 4, .max_running_requests = 1});
  const absl::Time begin = absl::UnixEpoch();  // when all are submitted
  GenerationRequest hurried;
  hurried.deadline = begin + absl::Seconds(5);
  Sequence* running = Add(2, 3, -1, hurried);
  Sequence* waiting = Add(2, 3);
  Step();
  const absl::Time now = begin + absl::Seconds(4);
  EXPECT_TRUE(scheduler_->Overdue(now, absl::InfinitePast()).empty());
  EXPECT_EQ(scheduler_->Overdue(now, begin + absl::Seconds(1)), std::vector{waiting});
  EXPECT_EQ(scheduler_->Overdue(now + absl::Seconds(1), absl::InfinitePast()), std::vector{running});
}

TEST_F(SchedulerRules, SaysWhatASequenceNeedsThatCanNeverRun) {
  Start({.pages_per_domain = 4, .page_size = 16});
  EXPECT_TRUE(scheduler_->CanEverRun(64).ok());
  const absl::Status status = scheduler_->CanEverRun(65);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : {"65 tokens", "5 KV pages", "there are 4", "--kv-cache"}) {
    EXPECT_NE(status.message().find(part), std::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace switchyard
