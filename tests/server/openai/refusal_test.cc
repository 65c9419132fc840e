// What is refused, and how it is named.
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

class Refusal : public ApiTest {
 protected:
  // `fields` is the text of members: "\"top_k\": -7".
  static std::string Completion(const std::string& fields) { return R"({"prompt":"Hi",)" + fields + "}"; }
  static std::string Chat(const std::string& fields) {
    return R"({"messages":[{"role":"user","content":"Hi"}],)" + fields + "}";
  }
  HttpReply PostText(const std::string& path, const std::string& body) {
    return HttpClient(server_->port()).Post(path, body);
  }
};

TEST_F(Refusal, NamesTheFieldOfEveryBadValue) {
  Serve();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"temperature", "-0.1"},
      {"temperature", "2.5"},
      {"temperature", "\"hot\""},
      {"temperature", "1e999"},
      {"temperature", "-1e999"},
      {"top_p", "0"},
      {"top_p", "1.5"},
      {"top_p", "1e-60"},
      {"top_k", "-2"},
      {"top_k", "1.5"},
      {"top_k", "9223372036854775808"},
      {"min_p", "-1"},
      {"presence_penalty", "3"},
      {"frequency_penalty", "-3"},
      {"repetition_penalty", "0"},
      {"seed", "9223372036854775808"},
      {"seed", "1e300"},
      {"seed", "true"},
      {"max_tokens", "-1"},
      {"max_tokens", "0"},
      {"max_tokens", "9223372036854775808"},
      {"max_tokens", "[]"},
      {"min_tokens", "-1"},
      {"min_tokens", "17"},
      {"n", "0"},
      {"n", "17"},
      {"n", "1000000000000"},
      {"best_of", "0"},
      {"best_of", "17"},
      {"prompt_logprobs", "21"},
      {"prompt_logprobs", "-1"},
      {"return_tokens_as_token_ids", "1"},
      {"logprobs", "21"},
      {"logprobs", "true"},
      {"stream", "1"},
      {"stream_options", "{\"include_usage\":true}"},
      {"echo", "\"yes\""},
      {"stop", "\"\""},
      {"stop", "[\"a\",\"b\",\"c\",\"d\",\"e\"]"},
      {"stop", "[1]"},
      {"stop_token_ids", "[259]"},
      {"stop_token_ids", "3"},
      {"logit_bias", "[]"},
      {"logit_bias", "{\"259\":1}"},
      {"logit_bias", "{\"-1\":1}"},
      {"logit_bias", "{\"x\":1}"},
      {"ignore_eos", "1"},
      {"truncate_prompt_tokens", "0"},
      {"model", "3"},
      {"request_id", "\"a b\""},
  };
  for (const auto& [field, value] : cases) {
    const json error = ErrorOf(PostText("/v1/completions", Completion("\"" + field + "\":" + value)), 400);
    EXPECT_TRUE(error["param"].is_string() && error["param"].get<std::string>().starts_with(field))
        << field << " = " << value << ": " << error.dump();
    EXPECT_NE(error["message"].get<std::string>().find(field), std::string::npos) << error.dump();
  }
  const json bias = ErrorOf(PostText("/v1/completions", Completion(R"("logit_bias":{"7":101})")), 400);
  EXPECT_EQ(bias["param"], "logit_bias.7");
  EXPECT_TRUE(engine_->submitted().empty());
}

TEST_F(Refusal, NamesThePromptThatIsBad) {
  Serve();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({})", "prompt"},
      {R"({"prompt":""})", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":{}})", "prompt"},
      {R"({"prompt":7})", "prompt"},
      {R"({"prompt":[["a"]]})", "prompt[0][0]"},
      {R"({"prompt":["a",""]})", "prompt[1]"},
      {R"({"prompt":["a",[7]]})", "prompt[1]"},
      {R"({"prompt":[7,"a"]})", "prompt[1]"},
      {R"({"prompt":[7,259]})", "prompt[1]"},
      {R"({"prompt":[7,-1]})", "prompt[1]"},
      {R"({"prompt":[[7],[8,9223372036854775808]]})", "prompt[1][1]"},
      {R"({"prompt":[[7],[]]})", "prompt[1]"},
      {R"({"prompt":[null]})", "prompt[0]"},
  };
  for (const auto& [body, param] : cases) {
    const json error = ErrorOf(PostText("/v1/completions", body), 400);
    EXPECT_EQ(error["param"], param) << body << error.dump();
  }
}

TEST_F(Refusal, NamesEveryFieldThatWouldChangeTheResult) {
  Serve();
  const std::vector<std::pair<std::string, std::string>> completions = {
      {"suffix", "\"x\""},
      {"guided_grammar", "\"x\""},
      {"use_beam_search", "true"},
  };
  for (const auto& [field, value] : completions) {
    const json error = ErrorOf(PostText("/v1/completions", Completion("\"" + field + "\":" + value)), 400);
    EXPECT_EQ(error["param"], field) << error.dump();
    EXPECT_EQ(error["code"], "unsupported_parameter");
  }
  const std::vector<std::pair<std::string, std::string>> chat = {
      {"functions", "[{}]"},
      {"add_special_tokens", "true"},
      {"chat_template", "\"x\""},
      {"modalities", "[\"audio\"]"},
  };
  for (const auto& [field, value] : chat) {
    const json error = ErrorOf(PostText("/v1/chat/completions", Chat("\"" + field + "\":" + value)), 400);
    EXPECT_EQ(error["param"], field) << error.dump();
    EXPECT_EQ(error["code"], "unsupported_parameter");
  }
  EXPECT_TRUE(engine_->submitted().empty());
}

TEST_F(Refusal, LetsFieldsThatAskForNothingAndUnknownOnesPass) {
  Serve();
  const std::string harmless =
      R"("tools":[],"tool_choice":"none","response_format":{"type":"text"},"logit_bias":null,"stop":null,)"
      R"("store":true,"metadata":{"a":"b"},"service_tier":"auto","user":"u","parallel_tool_calls":true,"priority":5,)"
      R"("top_logprobs":0,"bad_words":[],"continue_final_message":false,"surprise\n":{"deep":[1]})";
  EXPECT_EQ(PostText("/v1/chat/completions", Chat(harmless)).status, 200);
}

TEST_F(Refusal, ChecksChatsOwnFields) {
  Serve();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"top_logprobs", "2"}, {"logprobs", "5"}, {"max_completion_tokens", "0"}, {"max_tokens", "0"}};
  for (const auto& [field, value] : cases) {
    EXPECT_EQ(ErrorOf(PostText("/v1/chat/completions", Chat("\"" + field + "\":" + value)), 400)["param"], field);
  }
}

TEST_F(Refusal, GivesBothNumbersWhenTheContextOverflows) {
  Serve({.max_model_len = 20});
  const json by_prompt = ErrorOf(PostText("/v1/completions", R"({"prompt":"0123456789012345678901234"})"), 400);
  EXPECT_EQ(by_prompt["param"], "prompt");
  EXPECT_EQ(by_prompt["code"], "context_length_exceeded");
  EXPECT_NE(by_prompt["message"].get<std::string>().find("20"), std::string::npos);
  EXPECT_NE(by_prompt["message"].get<std::string>().find("26"), std::string::npos);
  const json by_length = ErrorOf(PostText("/v1/completions", R"({"prompt":"01234","max_tokens":15})"), 400);
  EXPECT_EQ(by_length["param"], "max_tokens");
  EXPECT_NE(by_length["message"].get<std::string>().find("21"), std::string::npos);
  EXPECT_EQ(PostText("/v1/completions", R"({"prompt":"01234","max_tokens":14})").status, 200);
  // The default of 16 is no wish: it gives way.
  EXPECT_EQ(PostText("/v1/completions", R"({"prompt":"0123456789"})").status, 200);
  EXPECT_EQ(engine_->submitted().at(1).stop.max_tokens, 9);
}

TEST_F(Refusal, RefusesATextFarOverTheContextWithoutEncodingIt) {
  Serve({.max_model_len = 20});
  const json error = ErrorOf(Post("/v1/completions", {{"prompt", std::string(4000, 'x')}}), 400);
  EXPECT_EQ(error["code"], "context_length_exceeded");
}

TEST_F(Refusal, DoesNotKnowOtherModels) {
  Serve();
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize"}) {
    const json error = ErrorOf(PostText(path, R"({"model":"gpt-5","prompt":"Hi"})"), 404);
    EXPECT_EQ(error["param"], "model");
    EXPECT_EQ(error["code"], "model_not_found");
    EXPECT_NE(error["message"].get<std::string>().find("fake"), std::string::npos);
  }
}

TEST_F(Refusal, SaysThatABodyIsNotJson) {
  Serve();
  for (const std::string body : {"{", "[]", "7", "{\"prompt\":\"Hi\"} x", "{\"prompt\":NaN}", "{'prompt':1}",
                                 "{\"prompt\":\"\xff\"}", "{\"prompt\":\"\\ud800\"}"}) {
    const json error = ErrorOf(PostText("/v1/completions", body), 400);
    EXPECT_EQ(error["code"], "invalid_json") << body;
  }
  EXPECT_EQ(HttpClient(server_->port()).Post("/v1/completions", "").status, 400);
}

TEST_F(Refusal, BoundsTheDepthOfJson) {
  Serve();
  const int depth = 100'000;
  const std::string deep = std::string(depth, '[') + std::string(depth, ']');
  const json error = ErrorOf(PostText("/v1/completions", Completion("\"metadata\":" + deep)), 400);
  EXPECT_EQ(error["param"], "metadata");
  EXPECT_NE(error["message"].get<std::string>().find("32"), std::string::npos);
}

TEST_F(Refusal, LimitsTheChoicesOfOneRequest) {
  ApiConfig config;
  config.limits.max_choices = 4;
  Serve({}, config);
  EXPECT_EQ(ErrorOf(PostText("/v1/completions", R"({"prompt":["a","b"],"n":3})"), 400)["param"], "prompt");
  EXPECT_EQ(ErrorOf(PostText("/v1/completions", R"({"prompt":["a","b","c","d","e"]})"), 400)["param"], "prompt");
  EXPECT_EQ(PostText("/v1/completions", R"({"prompt":["a","b"],"n":2})").status, 200);
}

}  // namespace
}  // namespace switchyard::openai
