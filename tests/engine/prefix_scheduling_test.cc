// What the scheduler makes of the prefix cache: which tokens are computed, where, and on whose pages.
#include <gtest/gtest.h>

#include <deque>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "tests/engine/recorded_sequence.h"

namespace switchyard {
namespace {

constexpr int32_t kGenerated = 7;

class PrefixScheduling : public testing::Test {
 protected:
  void Start(SchedulerConfig config) {
    config.prefix_caching = true;
    scheduler_ = std::make_unique<Scheduler>(config);
  }

  static std::vector<int32_t> Counting(int32_t first, int64_t count) {
    std::vector<int32_t> tokens(static_cast<size_t>(count));
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }
  static std::vector<int32_t> Join(std::vector<int32_t> a, const std::vector<int32_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  Sequence* Add(std::vector<int32_t> prompt, int32_t max_tokens = 1) {
    GenerationRequest request;
    request.prompt = std::move(prompt);
    request.stop.max_tokens = max_tokens;
    return Add(std::move(request));
  }
  Sequence* Add(GenerationRequest request) {
    request.id = std::string(1, static_cast<char>('a' + records_.size()));
    auto sequence = MakeSequence(std::move(request), &records_.emplace_back());
    Sequence* borrowed = sequence.get();
    scheduler_->Add(std::move(sequence));
    return borrowed;
  }

  // Schedules and hands every row a result; "a:0+5 b:8+2": from where on each is computed, and how many tokens.
  std::string Step() {
    step_ = scheduler_->Schedule(absl::UnixEpoch());
    std::string text;
    for (size_t i = 0; i < step_.sequences.size(); ++i) {
      const BatchSequence& part = step_.batch.sequences[i];
      text += (i == 0 ? "" : " ") + step_.sequences[i]->request().id + ":" + std::to_string(part.position) + "+" +
              std::to_string(part.num_tokens);
    }
    scheduler_->Advance(step_);
    for (Sequence* sequence : step_.sequence_of_score) sequence->AddScores({{.logprob = 0, .top1 = 1}}, {});
    for (Sequence* sequence : step_.sequence_of_sample) sequence->AddToken({.id = kGenerated}, {});
    return text;
  }
  void RunAll() {
    while (!scheduler_->empty()) {
      Step();
      scheduler_->RemoveFinished();
    }
    EXPECT_EQ(scheduler_->pages_used(), 0);
  }
  std::vector<int32_t> PagesOf(size_t i) const {
    const BatchSequence& part = step_.batch.sequences.at(i);
    return {step_.batch.pages.begin() + part.page_begin, step_.batch.pages.begin() + part.page_begin + part.num_pages};
  }

  std::deque<Record> records_;  // before the scheduler, which ends later: its sequences borrow them
  std::unique_ptr<Scheduler> scheduler_;
  ScheduledStep step_;
};

TEST_F(PrefixScheduling, GoesOnBehindWhatAnEarlierPromptHasComputed) {
  Start({.pages_per_domain = 10, .page_size = 4});
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "a:0+10");
  const std::vector<int32_t> pages = PagesOf(0);
  Sequence* b = Add(Join(Counting(100, 10), {1, 2, 3}));
  EXPECT_EQ(Step(), "b:8+5");
  EXPECT_EQ(PagesOf(0)[0], pages[0]);
  EXPECT_EQ(PagesOf(0)[1], pages[1]);
  EXPECT_EQ(b->num_cached_tokens, 8);
  EXPECT_EQ(records_[1].last().usage.cached_tokens, 8);
  EXPECT_EQ(records_[0].last().usage.cached_tokens, 0);
  EXPECT_EQ(scheduler_->prefix_cache_counts().queries, 23u);
  EXPECT_EQ(scheduler_->prefix_cache_counts().hits, 8u);
  RunAll();
}

TEST_F(PrefixScheduling, AlwaysComputesTheLastTwoTokens) {
  Start({.pages_per_domain = 10, .page_size = 4});
  Add(Counting(100, 9));
  EXPECT_EQ(Step(), "a:0+9");
  Add(Counting(100, 9));
  EXPECT_EQ(Step(), "b:4+5");
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "c:8+2");
  EXPECT_EQ(step_.batch.samples.size(), 1u);
}

TEST_F(PrefixScheduling, FindsGeneratedTokensToo) {
  Start({.pages_per_domain = 10, .page_size = 4});
  Add(Counting(100, 6), 7);
  RunAll();
  // Of the 13 tokens the last has no keys.
  Add(Join(Counting(100, 6), std::vector<int32_t>(8, kGenerated)));
  EXPECT_EQ(Step(), "b:12+2");
}

TEST_F(PrefixScheduling, RequestsOfOneStepShareWhatItComputes) {
  Start({.pages_per_domain = 20, .page_size = 4});
  for (int i = 0; i < 3; ++i) Add(Counting(100, 10), 5);
  EXPECT_EQ(Step(), "a:0+10 b:8+2 c:8+2");
  EXPECT_EQ(PagesOf(1)[0], PagesOf(0)[0]);
  EXPECT_EQ(PagesOf(2)[1], PagesOf(0)[1]);
  EXPECT_NE(PagesOf(2)[2], PagesOf(0)[2]);
  EXPECT_EQ(scheduler_->pages_used(), 5) << "a shared page counts once";
  RunAll();
}

TEST_F(PrefixScheduling, OfALongPromptOnlyWhatIsPlannedIsShared) {
  Start({.pages_per_domain = 20, .page_size = 4, .max_batch_tokens = 10});
  Add(Counting(100, 18));
  Add(Counting(100, 18));
  EXPECT_EQ(Step(), "a:0+10");
  EXPECT_EQ(Step(), "a:10+8 b:16+2");
}

TEST_F(PrefixScheduling, SaltsSeparateRequests) {
  Start({.pages_per_domain = 20, .page_size = 4});
  GenerationRequest request;
  request.prompt = Counting(100, 10);
  request.stop.max_tokens = 1;
  Add(request);
  EXPECT_EQ(Step(), "a:0+10");
  request.cache_salt = "mine";
  Add(request);
  EXPECT_EQ(Step(), "b:0+10");
  Add(request);
  EXPECT_EQ(Step(), "c:8+2");
  request.cache_salt = "";
  Add(request);
  EXPECT_EQ(Step(), "d:8+2");
}

TEST_F(PrefixScheduling, ScoredPromptsAreComputedWholeAndFoundByOthers) {
  Start({.pages_per_domain = 20, .page_size = 4});
  GenerationRequest scored;
  scored.prompt = Counting(100, 10);
  scored.stop.max_tokens = 3;
  scored.num_prompt_logprobs = 0;
  for (int i = 0; i < 2; ++i) {
    Add(scored);
    EXPECT_EQ(Step(), std::string(1, static_cast<char>('a' + i)) + ":0+10");
    EXPECT_EQ(step_.batch.scores.size(), 10u);
    RunAll();
  }
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "c:8+2");
  EXPECT_EQ(scheduler_->prefix_cache_counts().queries, 10u) << "what is not looked up does not count";
}

TEST_F(PrefixScheduling, WithoutItNothingIsShared) {
  scheduler_ = std::make_unique<Scheduler>(SchedulerConfig{.pages_per_domain = 10, .page_size = 4});
  Add(Counting(100, 10));
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "a:0+10 b:0+10");
  EXPECT_EQ(scheduler_->prefix_cache_counts().queries, 0u);
}

TEST_F(PrefixScheduling, EvictsTheLeastRecentlyUsedUnderPressure) {
  Start({.pages_per_domain = 6, .page_size = 4});
  Add(Counting(100, 8));
  RunAll();
  Add(Counting(200, 8));
  RunAll();
  Add(Counting(100, 10));  // uses the first again
  EXPECT_EQ(Step(), "c:8+2");
  RunAll();
  Add(Counting(300, 16));  // two pages are empty, two of another's go
  RunAll();
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "e:8+2");
  RunAll();
  Add(Counting(200, 10));
  EXPECT_EQ(Step(), "f:0+10");
}

TEST_F(PrefixScheduling, AdmitsByThePagesThatARequestWouldTakeFromTheFreeOnes) {
  Start({.pages_per_domain = 6, .page_size = 4, .reserve_worst_case = true});
  Add(Counting(100, 16), 5);  // 20 cached tokens at most: five pages
  EXPECT_EQ(Step(), "a:0+16");
  Add(Counting(100, 18), 3);  // likewise, of which it shares four
  EXPECT_EQ(Step(), "a:16+1 b:16+2") << "each will take one page of two";
  while (!scheduler_->empty()) {
    Step();
    scheduler_->RemoveFinished();
  }
  EXPECT_EQ(scheduler_->num_preemptions(), 0u);
}

TEST_F(PrefixScheduling, APageThatNobodyHoldsIsNoGift) {
  Start({.pages_per_domain = 6, .page_size = 4, .reserve_worst_case = true});
  Add(Counting(100, 8));
  RunAll();
  Add(Counting(200, 8), 8);  // four pages, two are left
  EXPECT_EQ(Step(), "b:0+8");
  Add(Counting(100, 10), 4);  // three, of which two are there, and free
  EXPECT_EQ(Step(), "b:8+1");
  while (!records_[1].last().finish) EXPECT_EQ(Step().substr(0, 2), "b:");
  EXPECT_EQ(Step(), "c:8+2");
  EXPECT_EQ(scheduler_->num_preemptions(), 0u);
}

TEST_F(PrefixScheduling, APreemptedSequenceGoesOnBehindWhatIsLeftOfIt) {
  Start({.pages_per_domain = 6, .page_size = 2});
  Add(Counting(100, 4), 7);
  Sequence* b = Add(Counting(200, 4), 7);
  while (scheduler_->num_preemptions() == 0) Step();
  EXPECT_EQ(b->num_computed, 0);
  std::string resumed;
  while (b->num_computed == 0) resumed = Step();
  EXPECT_NE(resumed.find("b:"), std::string::npos);
  EXPECT_EQ(resumed.find("b:0+"), std::string::npos) << resumed;
  EXPECT_EQ(b->num_cached_tokens, 0) << "usage tells of the first run";
  RunAll();
  EXPECT_EQ(scheduler_->prefix_cache_counts().hits, 0u) << "likewise the counters";
  EXPECT_EQ(records_[1].TokenIds().size(), 7u);
}

TEST_F(PrefixScheduling, PrefersTheDomainThatHoldsTheBeginning) {
  Start({.num_kv_domains = 2, .pages_per_domain = 40, .page_size = 4, .max_batch_tokens = 64});
  Sequence* a = Add(Counting(100, 40));
  EXPECT_EQ(a->owner, 0);
  Step();
  Sequence* b = Add(Counting(200, 40), 30);
  Step();
  EXPECT_EQ(b->owner, 0) << "both are free";
  Sequence* c = Add(Counting(300, 8), 30);
  Step();
  EXPECT_EQ(c->owner, 1);
  Sequence* d = Add(Join(Counting(100, 40), {1, 2}), 30);
  Step();
  EXPECT_EQ(d->owner, 0) << "where less is left, but most of it is computed";
  EXPECT_EQ(d->num_cached_tokens, 40);
}

TEST_F(PrefixScheduling, EachDomainHasItsOwnPages) {
  Start({.num_kv_domains = 2, .pages_per_domain = 3, .page_size = 4, .reserve_worst_case = true});
  Add(Counting(100, 10), 3);
  EXPECT_EQ(Step(), "a:0+10");
  Sequence* b = Add(Join(Counting(100, 8), {1, 2}), 2);  // one page more would be needed beside the first
  EXPECT_EQ(Step(), "a:10+1 b:0+10");
  EXPECT_EQ(b->owner, 1);
}

TEST_F(PrefixScheduling, WhatAFailedRequestHasComputedIsForgotten) {
  Start({.pages_per_domain = 20, .page_size = 4});
  Add(Counting(100, 8));
  RunAll();
  Sequence* failing = Add(Join(Counting(100, 8), Counting(200, 8)), 5);
  EXPECT_EQ(Step(), "b:8+8");
  failing->Fail(FinishReason::kError, absl::InternalError("of its own fault"), {});
  RunAll();
  Add(Join(Counting(100, 8), Counting(200, 8)));
  EXPECT_EQ(Step(), "c:8+8") << "what it shared is still there";
}

TEST_F(PrefixScheduling, BadNumbersMakeSharedPagesSuspect) {
  Start({.pages_per_domain = 20, .page_size = 4});
  Add(Counting(100, 8));
  RunAll();
  Sequence* failing = Add(Counting(100, 12));
  scheduler_->Advance(scheduler_->Schedule({}));
  failing->AddToken({.id = -1}, {});
  EXPECT_TRUE(failing->has_bad_numbers());
  RunAll();
  Add(Counting(100, 12));
  EXPECT_EQ(Step(), "c:0+12");
}

TEST_F(PrefixScheduling, ARequestThatForbidsEveryTokenDoesNotMakeThemSuspect) {
  Start({.pages_per_domain = 20, .page_size = 4});
  Add(Counting(100, 8));
  RunAll();
  GenerationRequest request;
  request.prompt = Counting(100, 12);
  request.sampling.logit_bias = {{5, -100.0f}};
  Sequence* failing = Add(request);
  scheduler_->Advance(scheduler_->Schedule({}));
  failing->AddToken({.id = -1}, {});
  RunAll();
  Add(Counting(100, 12));
  EXPECT_EQ(Step(), "c:8+4");
}

TEST_F(PrefixScheduling, AbortedRequestsLeaveWhatTheyHaveComputed) {
  Start({.pages_per_domain = 20, .page_size = 4, .max_batch_tokens = 8});
  Sequence* a = Add(Counting(100, 20));
  EXPECT_EQ(Step(), "a:0+8");
  a->Fail(FinishReason::kAborted, absl::CancelledError(""), {});
  scheduler_->RemoveFinished();
  EXPECT_EQ(scheduler_->pages_used(), 0);
  Add(Counting(100, 20));
  EXPECT_EQ(Step(), "b:8+8");
}

// The last page of a prompt of whole pages is computed anew each time; then it gives way to the one that was there.
TEST_F(PrefixScheduling, PagesOfEqualContentsBecomeOne) {
  Start({.pages_per_domain = 20, .page_size = 4});
  Add(Counting(100, 8), 9);
  EXPECT_EQ(Step(), "a:0+8");
  Add(Counting(100, 8), 9);  // computes its last page anew
  EXPECT_EQ(Step(), "a:8+1 b:4+4");
  EXPECT_NE(PagesOf(1)[1], PagesOf(0)[1]);
  EXPECT_EQ(Step(), "a:9+1 b:8+1");
  EXPECT_EQ(PagesOf(1)[1], PagesOf(0)[1]);
  EXPECT_NE(PagesOf(1)[2], PagesOf(0)[2]);
  while (!scheduler_->Find("b")->finished()) Step();
  RunAll();
}

TEST_F(PrefixScheduling, AHashThatTellsNothingApartCostsHitsOnly) {
  scheduler_ =
      std::make_unique<Scheduler>(SchedulerConfig{.pages_per_domain = 20, .page_size = 4, .prefix_caching = true},
                                  [](uint64_t, std::span<const std::byte>) { return uint64_t{1}; });
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "a:0+10");
  Add(Counting(200, 10));
  EXPECT_EQ(Step(), "b:0+10");
  Add(Counting(100, 10));
  EXPECT_EQ(Step(), "c:4+6");
  RunAll();
}

}  // namespace
}  // namespace switchyard
