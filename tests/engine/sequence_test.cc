#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/engine/recorded_sequence.h"

namespace switchyard {
namespace {

constexpr int32_t kEos = 2;
constexpr float kForbidden = -std::numeric_limits<float>::infinity();

GenerationRequest Request(std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerationRequest request;
  request.id = std::string("r");  // gcc 12 warns of the plain literal: its bug 105651
  request.prompt = std::move(prompt);
  request.stop.max_tokens = max_tokens;
  return request;
}

absl::Time At(int seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

std::vector<ScoredToken> Scores(int64_t begin, int64_t end) {
  std::vector<ScoredToken> scores;
  for (int64_t p = begin; p < end; ++p) {
    scores.push_back({.logprob = -static_cast<float>(p), .top1 = static_cast<int32_t>(p)});
  }
  return scores;
}

TEST(Sequence, FinishesByLengthAtMaxTokens) {
  Record record;
  auto sequence = MakeSequence(Request({5, 6}, 2), &record);
  sequence->AddToken({.id = 7}, At(1));
  EXPECT_FALSE(sequence->finished());
  EXPECT_FALSE(record.last().finish);
  sequence->AddToken({.id = 8}, At(2));
  EXPECT_EQ(record.last().finish, FinishReason::kLength);
  EXPECT_EQ(sequence->finish_reason(), FinishReason::kLength);
  EXPECT_EQ(sequence->tokens(), (std::vector<int32_t>{5, 6, 7, 8}));
  EXPECT_EQ(record.TokenIds(), (std::vector<int32_t>{7, 8}));
}

TEST(Sequence, FinishesByLengthAtTheEndOfTheContext) {
  Record record;
  auto sequence = MakeSequence(Request({5, 6}, 100), &record, {.max_length = 4});
  EXPECT_EQ(sequence->max_cached_tokens(), 3);
  sequence->AddToken({.id = 7}, At(1));
  EXPECT_FALSE(sequence->finished());
  sequence->AddToken({.id = 8}, At(2));
  EXPECT_EQ(record.last().finish, FinishReason::kLength);
}

TEST(Sequence, KnowsTheMostTokensThatItMayHold) {
  Record record;
  EXPECT_EQ(MakeSequence(Request({5, 6}, 10), &record)->max_cached_tokens(), 11);
  EXPECT_EQ(MakeSequence(Request({5, 6}, 1), &record)->max_cached_tokens(), 2);
  GenerationRequest scores_only = Request({5, 6}, 0);
  scores_only.num_prompt_logprobs = 0;
  EXPECT_EQ(MakeSequence(scores_only, &record)->max_cached_tokens(), 2);
}

TEST(Sequence, FinishesAtTheEndOfSequenceIdAndReportsIt) {
  Record record;
  auto sequence = MakeSequence(Request({5}, 9), &record, {.eos_ids = {kEos, 9}});
  sequence->AddToken({.id = 9, .logprob = -0.5f}, At(1));
  EXPECT_EQ(record.last().finish, FinishReason::kStop);
  EXPECT_EQ(record.last().matched_stop_id, 9);
  EXPECT_EQ(record.last().usage.completion_tokens, 1);
  ASSERT_EQ(record.last().tokens.size(), 1u);
  EXPECT_EQ(record.last().tokens[0].logprob, -0.5f);
}

TEST(Sequence, GoesOnAfterAnEndOfSequenceIdThatTheRequestIgnores) {
  Record record;
  GenerationRequest request = Request({5}, 2);
  request.stop.ignore_eos = true;
  auto sequence = MakeSequence(request, &record, {.eos_ids = {kEos}});
  sequence->AddToken({.id = kEos}, At(1));
  EXPECT_FALSE(sequence->finished());
  sequence->AddToken({.id = kEos}, At(2));
  EXPECT_EQ(record.last().finish, FinishReason::kLength);
  EXPECT_EQ(record.last().matched_stop_id, -1);
}

TEST(Sequence, FinishesAtAStopIdEvenIfItIsTheIgnoredEndOfSequence) {
  Record record;
  GenerationRequest request = Request({5}, 9);
  request.stop.token_ids = {kEos};
  request.stop.ignore_eos = true;
  auto sequence = MakeSequence(request, &record, {.eos_ids = {kEos}});
  sequence->AddToken({.id = kEos}, At(1));
  EXPECT_EQ(record.last().finish, FinishReason::kStop);
  EXPECT_EQ(record.last().matched_stop_id, kEos);
}

TEST(Sequence, ForbidsStopsBeforeMinTokensAndKeepsTheBiasesOfTheRequest) {
  Record record;
  GenerationRequest request = Request({5}, 9);
  request.stop.min_tokens = 2;
  request.stop.token_ids = {8, 4};
  request.sampling.logit_bias = {{3, 1.5f}, {4, 7.0f}};
  auto sequence = MakeSequence(request, &record, {.eos_ids = {kEos}});
  for (int i = 0; i < 2; ++i) {
    const std::vector<LogitBias>& biases = sequence->NextSamplingRow().biases;
    ASSERT_EQ(biases.size(), 4u);
    EXPECT_EQ(biases[0].id, kEos);
    EXPECT_EQ(biases[0].bias, kForbidden);
    EXPECT_EQ(biases[1].id, 3);
    EXPECT_EQ(biases[1].bias, 1.5f);
    EXPECT_EQ(biases[2].id, 4);
    EXPECT_EQ(biases[2].bias, kForbidden);
    EXPECT_EQ(biases[3].id, 8);
    EXPECT_EQ(biases[3].bias, kForbidden);
    sequence->AddToken({.id = 10}, At(1));
  }
  const std::vector<LogitBias>& biases = sequence->NextSamplingRow().biases;
  ASSERT_EQ(biases.size(), 2u);
  EXPECT_EQ(biases[1].id, 4);
  EXPECT_EQ(biases[1].bias, 7.0f);
}

TEST(Sequence, PassesTheRequestsSamplingOn) {
  Record record;
  GenerationRequest request = Request({5}, 9);
  request.sampling = {.temperature = 0.5f, .top_k = 3, .top_p = 0.25f, .min_p = 0.125f};
  request.num_logprobs = 4;
  auto sequence = MakeSequence(request, &record, {.seed = 77});
  for (uint64_t draw = 0; draw < 3; ++draw) {
    const SamplingRow& row = sequence->NextSamplingRow();
    EXPECT_EQ(row.temperature, 0.5f);
    EXPECT_EQ(row.top_k, 3);
    EXPECT_EQ(row.top_p, 0.25f);
    EXPECT_EQ(row.min_p, 0.125f);
    EXPECT_EQ(row.num_top_logprobs, 4);
    EXPECT_EQ(row.seed, 77u);
    EXPECT_EQ(row.draw, draw);
    EXPECT_TRUE(row.counts.empty()) << "counts are for penalties only";
    sequence->AddToken({.id = 10}, At(1));
  }
}

struct Penalties {
  float repetition = 1;
  float presence = 0;
  float frequency = 0;
};

// Against counting from scratch, with ids before, among and after those of the prompt.
TEST(Sequence, CountsTokensAsTheyCome) {
  const std::vector<int32_t> prompt = {9, 5, 9, 7};
  for (const Penalties& penalties : {Penalties{.repetition = 1.5f}, Penalties{.presence = 0.5f},
                                     Penalties{.frequency = -0.5f}, Penalties{.repetition = 0.5f, .presence = 1}}) {
    Record record;
    GenerationRequest request = Request(prompt, 100);
    request.sampling.repetition_penalty = penalties.repetition;
    request.sampling.presence_penalty = penalties.presence;
    request.sampling.frequency_penalty = penalties.frequency;
    auto sequence = MakeSequence(request, &record);
    std::vector<int32_t> output;
    for (const int32_t id : {7, 3, 11, 3, 5, 0, 3, 8}) {
      std::vector<int32_t> ids = output;
      if (penalties.repetition != 1) ids.insert(ids.end(), prompt.begin(), prompt.end());
      std::sort(ids.begin(), ids.end());
      ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
      const std::vector<TokenCount>& counts = sequence->NextSamplingRow().counts;
      ASSERT_EQ(counts.size(), ids.size());
      for (size_t i = 0; i < ids.size(); ++i) {
        EXPECT_EQ(counts[i].id, ids[i]);
        EXPECT_EQ(counts[i].in_output, std::count(output.begin(), output.end(), ids[i]));
        if (penalties.repetition != 1) {
          EXPECT_EQ(counts[i].in_prompt, std::count(prompt.begin(), prompt.end(), ids[i]));
        }
      }
      sequence->AddToken({.id = id}, At(1));
      output.push_back(id);
    }
  }
}

TEST(Sequence, FailsAloneWhenItsLogitsAreNotNumbers) {
  Record record;
  auto sequence = MakeSequence(Request({5}, 9), &record);
  sequence->AddToken({.id = 6}, At(1));
  sequence->AddToken({.id = -1}, At(2));
  EXPECT_EQ(record.last().finish, FinishReason::kError);
  EXPECT_EQ(record.last().status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(record.last().tokens.empty());
  EXPECT_EQ(record.last().usage.completion_tokens, 1);
}

TEST(Sequence, SaysNothingAfterItHasFinished) {
  Record record;
  auto sequence = MakeSequence(Request({5}, 9), &record);
  sequence->Fail(FinishReason::kAborted, absl::CancelledError("gone"), At(1));
  ASSERT_EQ(record.updates.size(), 1u);
  EXPECT_EQ(record.last().finish, FinishReason::kAborted);
  EXPECT_EQ(record.last().status, absl::CancelledError("gone"));
  sequence->AddToken({.id = 6}, At(2));
  sequence->Fail(FinishReason::kError, absl::InternalError("late"), At(2));
  EXPECT_EQ(record.updates.size(), 1u);
  EXPECT_EQ(sequence->num_generated(), 0);
}

TEST(Sequence, ScoresEveryPromptPositionAgainstTheNext) {
  Record record;
  GenerationRequest request = Request({5, 6, 7}, 1);
  request.num_prompt_logprobs = 3;
  auto sequence = MakeSequence(request, &record);
  EXPECT_EQ(sequence->ScoringRowAt(0).target, 6);
  EXPECT_EQ(sequence->ScoringRowAt(1).target, 7);
  EXPECT_EQ(sequence->ScoringRowAt(1).num_top_logprobs, 3);
  EXPECT_EQ(sequence->ScoringRowAt(2).target, -1);
}

TEST(Sequence, SendsPromptScoresOnceAndBeforeTheFirstToken) {
  Record record;
  GenerationRequest request = Request({5, 6, 7}, 2);
  request.num_prompt_logprobs = 1;
  auto sequence = MakeSequence(request, &record);
  std::vector<ScoredToken> first = Scores(0, 2);
  first[1].top = {{.id = 3, .logprob = -0.5f}};
  sequence->AddScores(std::move(first), At(1));
  EXPECT_TRUE(record.updates.empty());
  EXPECT_EQ(sequence->num_scored(), 2);
  sequence->AddScores(Scores(2, 3), At(2));
  sequence->AddToken({.id = 8}, At(2));
  sequence->AddToken({.id = 9}, At(3));
  ASSERT_EQ(record.updates.size(), 3u);
  ASSERT_TRUE(record.updates[0].prompt_logprobs);
  const std::vector<PromptLogProb>& logprobs = *record.updates[0].prompt_logprobs;
  ASSERT_EQ(logprobs.size(), 2u);
  EXPECT_EQ(logprobs[1].logprob, -1);
  EXPECT_EQ(logprobs[1].top1, 1);
  EXPECT_EQ(logprobs[1].top, (std::vector<TokenLogProb>{{.id = 3, .logprob = -0.5f}}));
  EXPECT_EQ(record.updates[0].prompt_top1, 2);
  EXPECT_FALSE(record.updates[0].finish);
  EXPECT_FALSE(record.updates[1].prompt_logprobs);
  EXPECT_FALSE(record.updates[2].prompt_logprobs);
}

TEST(Sequence, FinishesAfterTheScoresIfNoTokensAreWanted) {
  Record record;
  GenerationRequest request = Request({5}, 0);
  request.num_prompt_logprobs = 0;
  auto sequence = MakeSequence(request, &record);
  EXPECT_FALSE(sequence->WantsTokens());
  sequence->AddScores(Scores(0, 1), At(1));
  ASSERT_EQ(record.updates.size(), 1u);
  EXPECT_EQ(record.last().finish, FinishReason::kLength);
  ASSERT_TRUE(record.last().prompt_logprobs);
  EXPECT_TRUE(record.last().prompt_logprobs->empty());
  EXPECT_EQ(record.last().prompt_top1, 0);
}

TEST(Sequence, FailsWhenAScoreIsNotANumber) {
  Record record;
  GenerationRequest request = Request({5, 6}, 3);
  request.num_prompt_logprobs = 0;
  auto sequence = MakeSequence(request, &record);
  sequence->AddScores({{.logprob = NAN, .top1 = -1}}, At(1));
  EXPECT_EQ(record.last().finish, FinishReason::kError);
  EXPECT_EQ(record.last().status.code(), absl::StatusCode::kInternal);
}

TEST(Sequence, KeepsUsageAndTimingsCurrent) {
  Record record;
  auto sequence = MakeSequence(Request({5, 6, 7}, 3), &record, {.submitted = At(10)});
  sequence->first_scheduled = At(12);
  sequence->AddToken({.id = 8}, At(17));
  EXPECT_EQ(record.last().timings.queue, absl::Seconds(2));
  EXPECT_EQ(record.last().timings.prefill, absl::Seconds(5));
  EXPECT_EQ(record.last().timings.decode, absl::ZeroDuration());
  sequence->AddToken({.id = 8}, At(18));
  sequence->AddToken({.id = 8}, At(20));
  EXPECT_EQ(record.last().timings.prefill, absl::Seconds(5));
  EXPECT_EQ(record.last().timings.decode, absl::Seconds(3));
  EXPECT_EQ(record.last().usage.prompt_tokens, 3);
  EXPECT_EQ(record.last().usage.completion_tokens, 3);
  EXPECT_EQ(sequence->first_token_time(), At(17));
  EXPECT_EQ(sequence->last_token_time(), At(20));
}

TEST(Sequence, CountsOnlyTheQueueForARequestThatNeverRan) {
  Record record;
  auto sequence = MakeSequence(Request({5}, 3), &record, {.submitted = At(10)});
  sequence->Fail(FinishReason::kAborted, absl::CancelledError("gone"), At(14));
  EXPECT_EQ(record.last().timings.queue, absl::Seconds(4));
  EXPECT_EQ(record.last().timings.prefill, absl::ZeroDuration());
  EXPECT_EQ(record.last().timings.decode, absl::ZeroDuration());
}

}  // namespace
}  // namespace switchyard
