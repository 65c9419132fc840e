// POST /v1/completions, not streaming.
#include "absl/strings/str_cat.h"
#include "engine/retry_after.h"
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

class Completions : public ApiTest {};

constexpr const char* kPath = "/v1/completions";

TEST_F(Completions, AnswersAPromptInOpenAisShape) {
  Serve();
  const json reply = Ask(kPath, {{"model", "fake"}, {"prompt", "Hi"}, {"max_tokens", 5}});
  EXPECT_EQ(reply["object"], "text_completion");
  EXPECT_EQ(reply["model"], "fake");
  EXPECT_TRUE(reply["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_GT(reply["created"], 1'600'000'000);
  ASSERT_EQ(reply["choices"].size(), 1u);
  const json& choice = reply["choices"][0];
  EXPECT_EQ(choice["text"], "Hello");
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["logprobs"], nullptr);
  // <s>, H, i
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 5);
  EXPECT_EQ(reply["usage"]["total_tokens"], 8);
}

TEST_F(Completions, HandsEveryFieldToTheEngine) {
  Serve();
  Ask(kPath, {{"prompt", "Hi"},
              {"max_tokens", 7},
              {"min_tokens", 2},
              {"temperature", 0.5},
              {"top_p", 0.25},
              {"top_k", 40},
              {"min_p", 0.125},
              {"presence_penalty", -1.5},
              {"frequency_penalty", 1.5},
              {"repetition_penalty", 1.25},
              {"logit_bias", {{"17", -100}, {"20", 2.5}}},
              {"seed", -3},
              {"stop", json::array({"XX", "YY"})},
              {"stop_token_ids", json::array({9, 10})},
              {"ignore_eos", true},
              {"include_stop_str_in_output", true},
              {"skip_special_tokens", false},
              {"add_special_tokens", false},
              {"logprobs", 4}});
  const GenerationRequest request = engine_->submitted().at(0);
  EXPECT_EQ(request.prompt, (std::vector<int32_t>{3 + 'H', 3 + 'i'}));
  EXPECT_EQ(request.stop.max_tokens, 7);
  EXPECT_EQ(request.stop.min_tokens, 2);
  EXPECT_EQ(request.stop.strings, (std::vector<std::string>{"XX", "YY"}));
  EXPECT_EQ(request.stop.token_ids, (std::vector<int32_t>{9, 10}));
  EXPECT_TRUE(request.stop.ignore_eos);
  EXPECT_TRUE(request.stop.include_stop_string);
  EXPECT_FALSE(request.skip_special_tokens);
  EXPECT_EQ(request.num_logprobs, 4);
  EXPECT_EQ(request.num_prompt_logprobs, -1);
  const SamplingParams& sampling = request.sampling;
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.25f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.min_p, 0.125f);
  EXPECT_EQ(sampling.presence_penalty, -1.5f);
  EXPECT_EQ(sampling.frequency_penalty, 1.5f);
  EXPECT_EQ(sampling.repetition_penalty, 1.25f);
  EXPECT_EQ(sampling.logit_bias, (std::map<int32_t, float>{{17, -100.0f}, {20, 2.5f}}));
  EXPECT_EQ(sampling.seed, static_cast<uint64_t>(-3));
}

TEST_F(Completions, TakesAbsentFieldsFromTheCheckpointThenFromOpenAi) {
  Serve({.defaults = {.temperature = 0.6f, .top_k = 50}});
  Ask(kPath, {{"prompt", "Hi"}, {"top_p", nullptr}});
  const GenerationRequest request = engine_->submitted().at(0);
  EXPECT_EQ(request.sampling.temperature, 0.6f);
  EXPECT_EQ(request.sampling.top_k, 50);
  EXPECT_EQ(request.sampling.top_p, 1.0f);
  EXPECT_EQ(request.sampling.seed, std::nullopt);
  EXPECT_EQ(request.stop.max_tokens, 16);
  EXPECT_EQ(request.num_logprobs, -1);
}

TEST_F(Completions, TakesAllFourFormsOfPrompts) {
  Serve();
  const json text = Ask(kPath, {{"prompt", "A"}});
  const json texts = Ask(kPath, {{"prompt", {"A", "B"}}});
  const json ids = Ask(kPath, {{"prompt", {68, 69}}});
  const json lists = Ask(kPath, {{"prompt", {{68}, {69, 70}, {71}}}});
  EXPECT_EQ(text["choices"].size(), 1u);
  EXPECT_EQ(texts["choices"].size(), 2u);
  EXPECT_EQ(ids["choices"].size(), 1u);
  EXPECT_EQ(ids["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(lists["choices"].size(), 3u);
  EXPECT_EQ(lists["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(engine_->submitted()[0].prompt, (std::vector<int32_t>{1, 68}));
  EXPECT_EQ(engine_->submitted()[3].prompt, (std::vector<int32_t>{68, 69}));
}

TEST_F(Completions, GivesEveryChoiceItsIndexAndItsSeed) {
  Serve();
  const json reply = Ask(kPath, {{"prompt", {"A", "B"}}, {"n", 3}, {"best_of", 3}, {"seed", 100}});
  ASSERT_EQ(reply["choices"].size(), 6u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(reply["choices"][i]["index"], i);
    EXPECT_EQ(engine_->submitted()[i].sampling.seed, 100u + i % 3);
    EXPECT_EQ(engine_->submitted()[i].prompt[1], 3 + (i < 3 ? 'A' : 'B'));
  }
}

TEST_F(Completions, GeneratesEveryCandidateAndReturnsTheBest) {
  Serve();
  const json reply = Ask(kPath, {{"prompt", {"A", "B"}}, {"n", 2}, {"best_of", 3}, {"max_tokens", 5}, {"seed", 7}});
  ASSERT_EQ(reply["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(reply["choices"][i]["index"], i);
    EXPECT_EQ(reply["choices"][i]["logprobs"], nullptr);  // needed for the choice, not asked for
  }
  const std::vector<GenerationRequest> submitted = engine_->submitted();
  ASSERT_EQ(submitted.size(), 6u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(submitted[i].num_logprobs, 0);
    EXPECT_EQ(submitted[i].sampling.seed, 7u + i % 3);
  }
  EXPECT_EQ(reply["usage"]["completion_tokens"], 6 * 5);
}

TEST_F(Completions, UsageCountsWhatWasCachedOfEachPromptOnce) {
  Serve();
  const auto cached = [this](json fields) {
    fields["max_tokens"] = 1;
    return Ask(kPath, fields)["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
  };
  // Later candidates find what the first has computed, which nobody had computed before.
  EXPECT_EQ(cached({{"prompt", "Hello"}, {"n", 3}}), 0);
  EXPECT_EQ(cached({{"prompt", "Hello"}, {"n", 3}}), 5);  // of <s>Hello
  EXPECT_EQ(cached({{"prompt", json::array({"Hello", "other", "Hello"})}, {"best_of", 2}}), 10);
}

TEST_F(Completions, OnlyTheSameSaltSharesWhatIsCached) {
  Serve();
  const auto cached = [this](const std::string& salt) {
    return Ask(kPath, {{"prompt", "Hello"},
                       {"max_tokens", 1},
                       {"cache_salt", salt}})["usage"]["prompt_tokens_details"]["cached_tokens"]
        .get<int>();
  };
  EXPECT_EQ(cached("mine"), 0);
  EXPECT_EQ(cached("yours"), 0);
  EXPECT_EQ(cached("mine"), 5);
  EXPECT_EQ(engine_->submitted().front().cache_salt, "mine");
  EXPECT_EQ(ErrorOf(Post(kPath, {{"prompt", "Hi"}, {"cache_salt", 5}}), 400)["param"], "cache_salt");
}

TEST_F(Completions, RefusesCandidatesThatAStreamCannotChooseFrom) {
  Serve();
  const json body = {{"prompt", "A"}, {"n", 1}, {"best_of", 2}, {"stream", true}};
  EXPECT_EQ(ErrorOf(Post(kPath, body), 400)["param"], "best_of");
  EXPECT_EQ(ErrorOf(Post(kPath, {{"prompt", "A"}, {"n", 3}, {"best_of", 2}}), 400)["param"], "best_of");
  const json scored = {{"prompt", "A"}, {"prompt_logprobs", 1}, {"stream", true}};
  EXPECT_EQ(ErrorOf(Post(kPath, scored), 400)["param"], "prompt_logprobs");
}

TEST_F(Completions, GivesPromptLogProbsByTokenId) {
  Serve();
  const json reply = Ask(kPath, {{"prompt", "Hi"}, {"prompt_logprobs", 2}, {"logprobs", 0}});
  const json& list = reply["choices"][0]["prompt_logprobs"];
  ASSERT_EQ(list.size(), 3u);  // <s>, H, i
  EXPECT_EQ(list[0], nullptr);
  // Position 1's token is the most likely, though the fake's list leaves it out.
  const json& first = list[1][std::to_string(3 + 'H')];
  EXPECT_EQ(first["logprob"].get<float>(), FakeEngine::PromptLogProbOf(1));
  EXPECT_EQ(first["rank"], 1);
  EXPECT_EQ(first["decoded_token"], "H");
  EXPECT_EQ(list[1].size(), 3u);
  const json& second = list[2][std::to_string(3 + 'i')];
  EXPECT_EQ(second["logprob"].get<float>(), FakeEngine::PromptLogProbOf(2));
  EXPECT_EQ(second["rank"], 1);
  EXPECT_EQ(list[2].size(), 2u);
  EXPECT_FALSE(Ask(kPath, {{"prompt", "Hi"}})["choices"][0].contains("prompt_logprobs"));
}

TEST_F(Completions, KeepsEchoedLogProbsToTheirOwnNumber) {
  Serve();
  const json reply =
      Ask(kPath, {{"prompt", "Hi"}, {"prompt_logprobs", 5}, {"logprobs", 1}, {"echo", true}, {"max_tokens", 1}});
  EXPECT_EQ(reply["choices"][0]["logprobs"]["top_logprobs"][2].size(), 1u);
  EXPECT_EQ(reply["choices"][0]["prompt_logprobs"][2].size(), 5u);
}

TEST_F(Completions, NamesTokensByIdOnRequest) {
  Serve();
  const json reply =
      Ask(kPath, {{"prompt", "Hi"}, {"logprobs", 2}, {"max_tokens", 1}, {"return_tokens_as_token_ids", true}});
  const json& lists = reply["choices"][0]["logprobs"];
  const std::string name = absl::StrCat("token_id:", 3 + 'H');
  EXPECT_EQ(lists["tokens"][0], name);
  EXPECT_TRUE(lists["top_logprobs"][0].contains(name));
  const json chat = Ask("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "Hi"}}}},
                                                 {"logprobs", true},
                                                 {"max_tokens", 1},
                                                 {"return_tokens_as_token_ids", true}});
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"][0]["token"], name);
}

TEST_F(Completions, SaysWhichStopEndedTheText) {
  Serve();
  const json by_string = Ask(kPath, {{"prompt", "Hi"}, {"stop", ", w"}});
  EXPECT_EQ(by_string["choices"][0]["text"], "Hello");
  EXPECT_EQ(by_string["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(by_string["choices"][0]["stop_reason"], ", w");
  const json by_eos = Ask(kPath, {{"prompt", "Hi"}, {"max_tokens", 100}});
  EXPECT_EQ(by_eos["choices"][0]["text"], "Hello, world!");
  EXPECT_EQ(by_eos["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(by_eos["choices"][0]["stop_reason"], nullptr);
}

TEST_F(Completions, EchoesAPromptWithoutGenerating) {
  Serve();
  const json reply = Ask(kPath, {{"prompt", "Hi"}, {"echo", true}, {"max_tokens", 0}});
  EXPECT_EQ(reply["choices"][0]["text"], "Hi");
  EXPECT_EQ(reply["choices"][0]["logprobs"], nullptr);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 0);
  EXPECT_EQ(Ask(kPath, {{"prompt", {1, 75}}, {"echo", true}, {"max_tokens", 1}})["choices"][0]["text"], "HH");
}

TEST_F(Completions, ScoresAnEchoedPromptWithTheChosenTokenAlwaysInTheTop) {
  Serve();
  const json reply = Ask(kPath, {{"prompt", "Hi!"}, {"echo", true}, {"max_tokens", 2}, {"logprobs", 2}});
  EXPECT_EQ(reply["choices"][0]["text"], "Hi!He");
  const json& lists = reply["choices"][0]["logprobs"];
  EXPECT_EQ(lists["tokens"], json({"<s>", "H", "i", "!", "H", "e"}));
  EXPECT_EQ(lists["text_offset"], json({0, 0, 1, 2, 3, 4}));
  ASSERT_EQ(lists["token_logprobs"].size(), 6u);
  ASSERT_EQ(lists["top_logprobs"].size(), 6u);
  EXPECT_EQ(lists["token_logprobs"][0], nullptr);
  EXPECT_EQ(lists["top_logprobs"][0], nullptr);
  for (int i = 1; i < 6; ++i) {
    const float expected = i < 4 ? FakeEngine::PromptLogProbOf(i) : FakeEngine::LogProbOf(i - 4);
    EXPECT_EQ(lists["token_logprobs"][i].get<float>(), expected);
    // As the harness does it: the very same double.
    const std::string token = lists["tokens"][i];
    EXPECT_EQ(lists["top_logprobs"][i][token].get<double>(), lists["token_logprobs"][i].get<double>());
    EXPECT_GE(lists["top_logprobs"][i].size(), 2u);
  }
}

TEST_F(Completions, CountsTextOffsetsInCharacters) {
  Serve({.output = "é→x"});
  const json reply = Ask(kPath, {{"prompt", "ü"}, {"echo", true}, {"logprobs", 0}});
  const json& lists = reply["choices"][0]["logprobs"];
  EXPECT_EQ(reply["choices"][0]["text"], "üé→x");
  // <s>, ü in two bytes, é in two, → in three, x, </s>
  EXPECT_EQ(lists["text_offset"], json({0, 0, 1, 1, 2, 2, 3, 3, 3, 4}));
  EXPECT_EQ(lists["tokens"][1], "bytes:\\xc3");
}

TEST_F(Completions, ServesTokenIdsWhereThereIsNoTokenizer) {
  Serve({.has_tokenizer = false});
  const json reply = Ask(kPath, {{"prompt", {75, 76}}, {"max_tokens", 2}});
  EXPECT_EQ(reply["choices"][0]["text"], "");
  EXPECT_EQ(reply["choices"][0]["token_ids"], json({3 + 'H', 3 + 'e'}));
  EXPECT_EQ(reply["choices"][0]["prompt_token_ids"], json({75, 76}));
  EXPECT_FALSE(engine_->submitted().at(0).detokenize);
  const json error = ErrorOf(Post(kPath, {{"prompt", "text"}}), 400);
  EXPECT_EQ(error["param"], "prompt");
}

TEST_F(Completions, CutsAPromptOnlyWhenTold) {
  Serve();
  Ask(kPath, {{"prompt", "abcdef"}, {"truncate_prompt_tokens", 2}});
  EXPECT_EQ(engine_->submitted().at(0).prompt, (std::vector<int32_t>{3 + 'e', 3 + 'f'}));
}

TEST_F(Completions, TakesTheIdOfTheBody) {
  Serve();
  EXPECT_EQ(Ask(kPath, {{"prompt", "Hi"}, {"request_id", "mine"}})["id"], "cmpl-mine");
}

TEST_F(Completions, AnswersAnEngineErrorWithItsStatus) {
  Serve({.fail_after_tokens = 2});
  const json error = ErrorOf(Post(kPath, {{"prompt", "Hi"}}), 500);
  EXPECT_EQ(error["message"], "the logits of the request held NaN");
}

TEST_F(Completions, AnswersAFullQueueWithRetryAfter) {
  Serve({.submit_status = absl::ResourceExhaustedError("4096 requests are waiting")});
  const HttpReply reply = Post(kPath, {{"prompt", "Hi"}});
  EXPECT_EQ(ErrorOf(reply, 429)["type"], "rate_limit_error");
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
}

TEST_F(Completions, PassOnTheEnginesEstimateOfWhenToRetry) {
  Serve({.submit_status = WithRetryAfter(absl::ResourceExhaustedError("the queue is full"), 17)});
  EXPECT_EQ(Post(kPath, {{"prompt", "Hi"}}).headers.at("retry-after"), "17");
}

TEST_F(Completions, PassOnThePriority) {
  Serve();
  EXPECT_EQ(Post(kPath, {{"prompt", "Hi"}, {"priority", -3}}).status, 200);
  EXPECT_EQ(engine_->submitted().front().priority, -3);
  EXPECT_EQ(ErrorOf(Post(kPath, {{"prompt", "Hi"}, {"priority", 1.5}}), 400)["param"], "priority");
}

}  // namespace
}  // namespace switchyard::openai
