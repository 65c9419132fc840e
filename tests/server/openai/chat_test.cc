// POST /v1/chat/completions, not streaming.
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

class Chat : public ApiTest {
 protected:
  static constexpr const char* kPath = "/v1/chat/completions";
  static json Message(const std::string& role, const json& content) { return {{"role", role}, {"content", content}}; }
  // The prompt's text as the engine got it, without <s>.
  std::string PromptText(size_t request) {
    const std::vector<int32_t> ids = engine_->submitted().at(request).prompt;
    return engine_->tokenizer()->Decode(ids, /*skip_special_tokens=*/true);
  }
};

TEST_F(Chat, AnswersMessagesInOpenAisShape) {
  Serve();
  const json reply = Ask(kPath, {{"model", "fake"}, {"messages", {Message("user", "Hi")}}});
  EXPECT_EQ(reply["object"], "chat.completion");
  EXPECT_TRUE(reply["id"].get<std::string>().starts_with("chatcmpl-"));
  const json& choice = reply["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "Hello, world!");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(reply["usage"]["completion_tokens"], 14);
  EXPECT_EQ(PromptText(0), "user: Hi\n");
}

TEST_F(Chat, FillsTheContextUnlessToldOtherwise) {
  Serve();
  Ask(kPath, {{"messages", {Message("user", "Hi")}}});
  Ask(kPath, {{"messages", {Message("user", "Hi")}}, {"max_tokens", 5}});
  Ask(kPath, {{"messages", {Message("user", "Hi")}}, {"max_tokens", 5}, {"max_completion_tokens", 6}});
  EXPECT_EQ(engine_->submitted()[0].stop.max_tokens, 256 - 10);
  EXPECT_EQ(engine_->submitted()[1].stop.max_tokens, 5);
  EXPECT_EQ(engine_->submitted()[2].stop.max_tokens, 6);
}

TEST_F(Chat, JoinsTextPartsAndTakesANullFromTheAssistant) {
  Serve();
  const json parts = {{{"type", "text"}, {"text", "one "}}, {{"type", "text"}, {"text", "two"}}};
  Ask(kPath, {{"messages", {Message("system", "Be brief"), Message("user", parts), Message("assistant", nullptr)}}});
  EXPECT_EQ(PromptText(0), "system: Be brief\nuser: one two\nassistant: \n");
}

TEST_F(Chat, GivesLogProbsWithBytesAndTop) {
  Serve({.output = "é"});
  const json reply =
      Ask(kPath, {{"messages", {Message("user", "Hi")}}, {"logprobs", true}, {"top_logprobs", 2}, {"max_tokens", 2}});
  const json& content = reply["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "bytes:\\xc3");
  EXPECT_EQ(content[0]["bytes"], json::array({0xc3}));
  EXPECT_EQ(content[0]["logprob"].get<float>(), FakeEngine::LogProbOf(0));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(content[0]["top_logprobs"][0]["logprob"], content[0]["logprob"]);
}

TEST_F(Chat, SaysWhyAModelCannotChat) {
  Serve({.has_chat_template = false});
  const json error = ErrorOf(Post(kPath, {{"messages", {Message("user", "Hi")}}}), 400);
  EXPECT_EQ(error["param"], "messages");
  EXPECT_NE(error["message"].get<std::string>().find("the directory has no chat_template"), std::string::npos);
}

TEST_F(Chat, NamesTheMessageThatIsAtFault) {
  Serve();
  const std::vector<std::pair<json, std::string>> cases = {
      {json::array(), "messages"},
      {"Hi", "messages"},
      {json::array({"Hi"}), "messages[0]"},
      {json::array({Message("user", "Hi"), Message("wizard", "Hi")}), "messages[1].role"},
      {json::parse(R"([{"content":"Hi"}])"), "messages[0].role"},
      {json::parse(R"([{"role":"user"}])"), "messages[0].content"},
      {json::array({Message("user", nullptr)}), "messages[0].content"},
      {json::array({Message("user", 3)}), "messages[0].content"},
      {json::parse(R"([{"role":"user","content":[{"type":"image_url","image_url":"x"}]}])"),
       "messages[0].content[0].type"},
      {json::parse(R"([{"role":"assistant","content":"","tool_calls":[1]}])"), "messages[0].tool_calls[0]"},
      {json::array({Message("tool", "Hi")}), "messages"},  // the template's refusal
  };
  for (const auto& [messages, param] : cases) {
    const json error = ErrorOf(Post(kPath, {{"messages", messages}}), 400);
    EXPECT_EQ(error["param"], param) << error.dump();
  }
  EXPECT_TRUE(engine_->submitted().empty());
}

}  // namespace
}  // namespace switchyard::openai
