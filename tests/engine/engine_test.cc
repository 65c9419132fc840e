// The engine as a front end sees it: many requests at once on the bundled model, two ranks.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModel[] = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";

EngineConfig TinyConfig() {
  return {.model_dir = kModel, .num_local_ranks = 2, .num_threads = 2, .kv_cache_bytes = int64_t{64} << 20};
}

GenerationRequest TextRequest(Engine& engine, const std::string& id, const std::string& text, int32_t max_tokens) {
  return GreedyRequest(id, engine.tokenizer()->Encode(text, {}), max_tokens);
}

TEST(Engine, AnswersASumInChat) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  ASSERT_NE(engine->chat_template(), nullptr);
  const auto prompt = engine->chat_template()->Encode({.messages = {{.role = "user", .content = "What is 12 + 7?"}}},
                                                      *engine->tokenizer());
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  GenerationRequest request = GreedyRequest("sum", *prompt, 32);
  request.text_continues_prompt = false;
  const Completion answer = RunAlone(*engine, request);
  EXPECT_EQ(answer.text, "19");
  EXPECT_EQ(answer.finish, FinishReason::kStop);
  EXPECT_EQ(answer.usage.completion_tokens, 4);  // "▁", "1", "9", end of sequence
}

TEST(Engine, ASeedGivesTheSameTextWhateverElseIsInTheBatch) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  GenerationRequest seeded = TextRequest(*engine, "seeded", "In the beginning", 40);
  seeded.sampling.temperature = 1.0f;
  seeded.sampling.seed = 7;
  const Completion alone = RunAlone(*engine, seeded);
  std::vector<GenerationRequest> requests = {seeded};
  for (int i = 0; i < 20; ++i) {
    requests.push_back(TextRequest(*engine, absl::StrCat("other ", i), absl::StrCat("KING HENRY: ", i), 10 + i));
    requests.back().sampling.temperature = 1.0f;
  }
  EXPECT_EQ(RunTogether(*engine, requests).front().ids(), alone.ids());
  GenerationRequest other_seed = seeded;
  other_seed.sampling.seed = 8;
  EXPECT_NE(RunAlone(*engine, other_seed).ids(), alone.ids());
}

TEST(Engine, PreemptionChangesNoOutput) {
  EngineConfig config = TinyConfig();
  config.max_model_len = 128;
  const std::unique_ptr<Engine> roomy = StartEngine(config);
  // Two sequences of full length per rank: most of forty must wait or be preempted.
  config.kv_cache_bytes = int64_t{2} * 128 * 2 * 4 * 2 * 64 * 4;
  config.admission = Admission::kWorstCase;
  const std::unique_ptr<Engine> reserving = StartEngine(config);
  config.admission = Admission::kOptimistic;
  const std::unique_ptr<Engine> cramped = StartEngine(config);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 40; ++i) {
    requests.push_back(TextRequest(*roomy, absl::StrCat("request ", i), absl::StrCat("The number ", i, " and"), 60));
    requests.back().sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    requests.back().sampling.seed = static_cast<uint64_t>(i);
    requests.back().stop.ignore_eos = true;
  }
  const std::vector<Completion> expected = RunTogether(*roomy, requests);
  const std::vector<Completion> got = RunTogether(*cramped, requests);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(got[i].ids(), expected[i].ids()) << requests[i].id;
  const std::vector<Completion> undisturbed = RunTogether(*reserving, requests);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(undisturbed[i].ids(), expected[i].ids()) << requests[i].id;
  EXPECT_GT(cramped->Stats().num_preemptions, 0u);
  EXPECT_EQ(reserving->Stats().num_preemptions, 0u);
  EXPECT_EQ(roomy->Stats().num_preemptions, 0u);
  EXPECT_EQ(cramped->Stats().kv_pages_used, 0);
}

TEST(Engine, TellsTheExpertsOfEveryTokenOnRequestWhereverTheyAre) {
  std::vector<std::vector<int16_t>> expected;
  for (const int ranks : {1, 2}) {
    for (const AttentionParallelism attention :
         {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
      EngineConfig config = TinyConfig();
      config.num_local_ranks = ranks;
      config.attention = attention;
      const std::unique_ptr<Engine> engine = StartEngine(config);
      GenerationRequest request = TextRequest(*engine, "asks", "In the beginning", 12);
      request.return_experts = true;
      const std::vector<Completion> got =
          RunTogether(*engine, {TextRequest(*engine, "first", "And it came to pass", 12), request,
                                TextRequest(*engine, "last", "To be, or not", 12)});
      EXPECT_TRUE(got[0].tokens.front().experts.empty());
      const DecoderSpec& spec = engine->model_info().spec;
      std::vector<std::vector<int16_t>> experts;
      for (const GeneratedToken& token : got[1].tokens) {
        ASSERT_EQ(token.experts.size(), static_cast<size_t>(spec.num_layers * spec.experts_per_token));
        for (size_t i = 0; i + 1 < token.experts.size(); i += 2) {
          EXPECT_NE(token.experts[i], token.experts[i + 1]);
          EXPECT_TRUE(token.experts[i] >= 0 && token.experts[i] < spec.num_experts);
        }
        experts.push_back(token.experts);
      }
      if (expected.empty()) expected = experts;
      EXPECT_EQ(experts, expected);
    }
  }
}

TEST(Engine, StopStringEndsTheTextBeforeIt) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  const Completion free_running = RunAlone(*engine, TextRequest(*engine, "free", "In the beginning God", 30));
  ASSERT_GT(free_running.text.size(), 12u);
  const std::string stop = free_running.text.substr(8, 3);
  GenerationRequest request = TextRequest(*engine, "stopped", "In the beginning God", 30);
  request.stop.strings = {stop};
  const Completion stopped = RunAlone(*engine, request);
  EXPECT_EQ(stopped.text, free_running.text.substr(0, free_running.text.find(stop)));
  EXPECT_EQ(stopped.matched_stop, stop);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
}

TEST(Engine, StatsCountARequestFromItsFirstTokenOn) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  std::promise<EngineStats> at_first_token;
  std::promise<void> ended;
  bool is_first = true;
  const GenerationRequest request = TextRequest(*engine, "watched", "And it came to pass", 8);
  const absl::Status status = engine->Submit(request, [&](const RequestUpdate& update) {
    if (std::exchange(is_first, false)) at_first_token.set_value(engine->Stats());
    if (update.finish.has_value()) ended.set_value();
  });
  ASSERT_TRUE(status.ok()) << status;
  const EngineStats stats = at_first_token.get_future().get();
  EXPECT_GT(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.num_requests_running, 1);
  EXPECT_EQ(stats.num_requests_waiting, 0);
  ended.get_future().wait();
}

TEST(Engine, AbortedRequestsReturnTheirPages) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  std::mutex mu;
  std::condition_variable done;
  int num_left = 64;
  std::mt19937 random(1);
  std::vector<int> tokens_until_abort(64);
  for (int i = 0; i < 64; ++i) {
    tokens_until_abort[i] = i % 2 == 0 ? static_cast<int>(random() % 30) : 1000;
    GenerationRequest request = TextRequest(*engine, absl::StrCat("stream ", i), "And it came to pass", 60);
    request.stop.ignore_eos = true;
    const absl::Status status = engine->Submit(request, [&, i, id = request.id](RequestUpdate update) {
      const std::lock_guard lock(mu);
      if (update.finish.has_value()) {
        // The abort may come too late for a sequence that was just ending.
        if (i % 2 == 1) {
          EXPECT_EQ(*update.finish, FinishReason::kLength);
        }
        if (--num_left == 0) done.notify_all();
      } else if ((tokens_until_abort[i] -= static_cast<int>(update.tokens.size())) <= 0) {
        engine->Abort(id);
      }
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  std::unique_lock lock(mu);
  done.wait(lock, [&] { return num_left == 0; });
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.num_requests_running, 0);
  EXPECT_GT(stats.requests_abort, 0u);
}

TEST(Engine, RefusesWhatItCannotServeAndNamesTheField) {
  EngineConfig config = TinyConfig();
  config.max_model_len = 64;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  const GenerationRequest good = GreedyRequest("x", {1, 2, 3}, 4);
  struct Case {
    std::string field;
    std::function<void(GenerationRequest&)> spoil;
  };
  const Case cases[] = {
      {"prompt", [](auto& r) { r.prompt.clear(); }},
      {"2048",
       [](auto& r) {
         r.prompt = {1, 2048};
       }},
      {"-1", [](auto& r) { r.prompt = {-1}; }},
      {"64", [](auto& r) { r.prompt.assign(64, 5); }},
      {"temperature", [](auto& r) { r.sampling.temperature = -0.5f; }},
      {"temperature", [](auto& r) { r.sampling.temperature = std::nanf(""); }},
      {"top_p", [](auto& r) { r.sampling.top_p = 0; }},
      {"min_p", [](auto& r) { r.sampling.min_p = 1.5f; }},
      {"top_k", [](auto& r) { r.sampling.top_k = -3; }},
      {"presence_penalty", [](auto& r) { r.sampling.presence_penalty = 3; }},
      {"frequency_penalty", [](auto& r) { r.sampling.frequency_penalty = -3; }},
      {"repetition_penalty", [](auto& r) { r.sampling.repetition_penalty = 0; }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{9999, 1.0f}};
       }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{5, 101.0f}};
       }},
      {"max_tokens", [](auto& r) { r.stop.max_tokens = 0; }},
      {"min_tokens", [](auto& r) { r.stop.min_tokens = 5; }},
      {"stop_token_ids", [](auto& r) { r.stop.token_ids = {5000}; }},
      {"stop", [](auto& r) { r.stop.strings = {""}; }},
      {"logprobs", [](auto& r) { r.num_logprobs = 1000; }},
  };
  for (const Case& c : cases) {
    GenerationRequest request = good;
    c.spoil(request);
    const absl::Status status = engine->Submit(request, [](RequestUpdate) { FAIL() << "was accepted"; });
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.field << ": " << status;
    EXPECT_NE(status.message().find(c.field), std::string::npos) << status;
  }
  EXPECT_EQ(RunAlone(*engine, good).finish, FinishReason::kLength);
}

TEST(Engine, DrainFinishesWhatRunsAndTakesNothingNew) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  std::mutex mu;
  std::optional<FinishReason> finish;
  GenerationRequest request = GreedyRequest("last", {1, 50, 60}, 100);
  request.stop.ignore_eos = true;
  ASSERT_TRUE(engine
                  ->Submit(request,
                           [&](RequestUpdate update) {
                             const std::lock_guard lock(mu);
                             if (update.finish.has_value()) finish = update.finish;
                           })
                  .ok());
  EXPECT_TRUE(engine->Drain(absl::Minutes(1)).ok());
  EXPECT_EQ(finish, FinishReason::kLength);
  EXPECT_TRUE(absl::IsUnavailable(engine->Submit(GreedyRequest("late", {1}, 1), [](RequestUpdate) {})));
  EXPECT_TRUE(absl::IsUnavailable(engine->Health()));
}

TEST(Engine, CountsEveryRoutedToken) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  const Completion completion = RunAlone(*engine, GreedyRequest("count", {1, 50, 60, 70}, 6));
  ASSERT_EQ(completion.finish, FinishReason::kLength);
  const EngineStats stats = engine->Stats();
  // Four prompt tokens and five of the six generated ones went through every layer, to two experts each.
  for (const std::vector<uint64_t>& layer : stats.expert_tokens) {
    uint64_t total = 0;
    for (const uint64_t tokens : layer) total += tokens;
    EXPECT_EQ(total, 9u * 2u);
  }
  EXPECT_EQ(stats.prompt_tokens, 4u);
  EXPECT_EQ(stats.generation_tokens, 6u);
  EXPECT_EQ(stats.time_to_first_token.count(), 1u);
  EXPECT_EQ(stats.inter_token_latency.count(), 5u);
}

}  // namespace
}  // namespace switchyard
