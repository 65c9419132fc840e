// Tools of chats: what the template gets, and calls in the answer.
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

constexpr const char* kCalls =
    R"(Sure. [TOOL_CALLS] [{"name": "add", "arguments": {"b": 2, "a": 1}}, {"name": "now", "arguments": {}}])";

class Tools : public ApiTest {
 protected:
  static constexpr const char* kPath = "/v1/chat/completions";

  // A body with the tools "add" and "now", and `more` members.
  static std::string Body(const std::string& more = "") {
    return R"({"messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"add",)"
           R"("parameters":{"type":"object","properties":{"z":{},"a":{"description":"]}\","}}}}},)"
           R"( {"type":"function","function":{"name":"now"}}])" +
           more + "}";
  }
  json Answer(const std::string& more = "") {
    const HttpReply reply = HttpClient(server_->port()).Post(kPath, Body(more));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return json::parse(reply.body, nullptr, false)["choices"][0];
  }
  std::string PromptText(size_t request) {
    return engine_->tokenizer()->Decode(engine_->submitted().at(request).prompt, /*skip_special_tokens=*/true);
  }
};

TEST_F(Tools, AnswersWithCallsInOpenAisShape) {
  Serve({.output = kCalls, .max_model_len = 1000});
  const json choice = Answer();
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["content"], "Sure. ");
  const json& calls = choice["message"]["tool_calls"];
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0]["type"], "function");
  EXPECT_EQ(calls[0]["function"], json({{"name", "add"}, {"arguments", R"({"b": 2, "a": 1})"}}));
  EXPECT_EQ(calls[1]["function"], json({{"name", "now"}, {"arguments", "{}"}}));
  EXPECT_FALSE(calls[0].contains("index"));
  std::set<std::string> ids;
  for (const json& call : calls) {
    const std::string id = call["id"];
    EXPECT_EQ(id.size(), 9u);
    EXPECT_EQ(id.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
              std::string::npos);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 2u);
}

TEST_F(Tools, GivesToolsToTheTemplateAsTheClientWroteThem) {
  Serve({.max_model_len = 1000});
  Answer();
  EXPECT_EQ(PromptText(0), R"(tool: {"type":"function","function":{"name":"add","parameters":{"type":"object",)"
                           R"("properties":{"z":{},"a":{"description":"]}\","}}}}})"
                           "\n"
                           R"(tool:  {"type":"function","function":{"name":"now"}})"
                           "\nuser: Hi\n");
}

TEST_F(Tools, StreamsCallsAsDeltas) {
  ApiConfig config;
  config.limits.merge_after_updates = 1000;  // a chunk per token
  Serve({.output = kCalls, .max_model_len = 1000}, config);
  const auto chunks = ChunksOf(HttpClient(server_->port()).Post(kPath, Body(R"(,"stream":true)")));
  std::string content;
  std::vector<json> calls;
  std::vector<int> pieces;
  for (const json& chunk : chunks) {
    const json& delta = chunk["choices"][0]["delta"];
    content += delta.value("content", "");
    if (!delta.contains("tool_calls")) continue;
    for (const json& call : delta["tool_calls"]) {
      const size_t index = call["index"];
      if (call.contains("id")) {
        ASSERT_EQ(index, calls.size());
        EXPECT_EQ(call["type"], "function");
        calls.push_back(call["function"]);
        pieces.push_back(1);
      } else {
        ASSERT_LT(index, calls.size());
        EXPECT_FALSE(call["function"].contains("name"));
        calls[index]["arguments"] =
            calls[index]["arguments"].get<std::string>() + call["function"]["arguments"].get<std::string>();
        ++pieces[index];
      }
    }
  }
  EXPECT_EQ(content, "Sure. ");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0], json({{"name", "add"}, {"arguments", R"({"b": 2, "a": 1})"}}));
  EXPECT_GT(pieces[0], 5);
  EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(chunks.front()["choices"][0]["delta"]["role"], "assistant");
}

TEST_F(Tools, MalformedCallsAreText) {
  Serve({.output = R"([TOOL_CALLS] [{"name": "add"])", .max_model_len = 1000});
  const json choice = Answer();
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["message"]["content"], R"([TOOL_CALLS] [{"name": "add"])");
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

TEST_F(Tools, NoneLeavesToolsAndCallsAlone) {
  Serve({.output = kCalls, .max_model_len = 1000});
  const json choice = Answer(R"(,"tool_choice":"none")");
  EXPECT_EQ(choice["message"]["content"], kCalls);
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(PromptText(0), "user: Hi\n");
}

TEST_F(Tools, OneCallWithoutParallelOnes) {
  Serve({.output = kCalls, .max_model_len = 1000});
  EXPECT_EQ(Answer(R"(,"parallel_tool_calls":false)")["message"]["tool_calls"].size(), 1u);
}

TEST_F(Tools, ANamedFunctionIsBegunForTheModelWhichCanWriteNothingElse) {
  Serve({.output = R"([{"name": "add", "arguments": {"a": 1}}])", .max_model_len = 1000});
  const json choice = Answer(R"(,"tool_choice":{"type":"function","function":{"name":"add"}})");
  EXPECT_TRUE(PromptText(0).ends_with("[TOOL_CALLS] "));
  EXPECT_NE(engine_->submitted().at(0).rules.grammar, nullptr);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"], json({{"name", "add"}, {"arguments", R"({"a": 1})"}}));
  EXPECT_EQ(choice["message"]["content"], nullptr);
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
}

TEST_F(Tools, RequiredBeginsACallForTheModel) {
  Serve({.output = R"([{"name": "now", "arguments": {}}])", .max_model_len = 1000});
  const json choice = Answer(R"(,"tool_choice":"required")");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "now");
  EXPECT_NE(engine_->submitted().at(0).rules.grammar, nullptr);
}

TEST_F(Tools, ReadsHermesCallsWhereTheTemplateWritesThem) {
  Serve({.output = "Sure.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>",
         .max_model_len = 1000,
         .tool_call_format = ToolCallFormat::kHermes});
  const json choice = Answer();
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["content"], "Sure.\n");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"], json({{"name", "add"}, {"arguments", R"({"a": 1})"}}));
}

TEST_F(Tools, ForcesOneHermesCall) {
  Serve({.output = R"({"name": "now", "arguments": {}})",
         .max_model_len = 1000,
         .tool_call_format = ToolCallFormat::kHermes});
  const json choice = Answer(R"(,"tool_choice":"required")");
  EXPECT_TRUE(PromptText(0).ends_with("<tool_call>\n"));
  EXPECT_NE(engine_->submitted().at(0).rules.grammar, nullptr);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "now");
  EXPECT_EQ(choice["message"]["content"], nullptr);
}

TEST_F(Tools, SchemasThatCannotBeFollowedAreRefusedWhereACallIsForced) {
  Serve({.max_model_len = 1000});
  const std::string body = R"({"messages":[{"role":"user","content":"Hi"}],"tool_choice":"required","tools":[)"
                           R"({"type":"function","function":{"name":"f","parameters":{"type":"object","not":{}}}}]})";
  const json error = ErrorOf(HttpClient(server_->port()).Post(kPath, body), 400);
  EXPECT_EQ(error["param"], "tools");
  EXPECT_NE(error["message"].get<std::string>().find("not"), std::string::npos);
}

TEST_F(Tools, FaultsNameTheField) {
  Serve();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("tools":{})", "tools"},
      {R"("tools":[1])", "tools[0]"},
      {R"("tools":[{"type":"retrieval"}])", "tools[0].type"},
      {R"("tools":[{"type":"function"}])", "tools[0].function"},
      {R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"f","parameters":1}}])", "tools[0].function.parameters"},
      {R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"g")", "tool_choice"},
      {R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"function":{"name":"g"}})",
       "tool_choice"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("parallel_tool_calls":1)", "parallel_tool_calls"},
      {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
      {R"("continue_final_message":true)", "continue_final_message"},
      {R"("documents":[1])", "documents[0]"},
  };
  for (const auto& [members, param] : cases) {
    const std::string body = R"({"messages":[{"role":"user","content":"Hi"}],)" + members + "}";
    EXPECT_EQ(ErrorOf(HttpClient(server_->port()).Post(kPath, body), 400)["param"], param) << members;
  }
  EXPECT_TRUE(engine_->submitted().empty());
}

TEST_F(Tools, MessagesCarryCallsResultsAndTemplateArguments) {
  Serve({.max_model_len = 1000});
  const json messages = json::parse(
      R"([{"role":"user","content":"q"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"abc123DEF","type":"function","function":{"name":"add","arguments":"{\"b\":1,\"a\":2}"}}]},
          {"role":"tool","tool_call_id":"abc123DEF","name":"add","content":[{"type":"text","text":"3"}]}])");
  Ask(kPath, {{"messages", messages}, {"chat_template_kwargs", {{"style", "x"}}}});
  EXPECT_EQ(PromptText(0),
            "arguments: {\"style\":\"x\"}\nuser: q\nassistant: add({\"b\":1,\"a\":2})\ntool: 3#abc123DEF\n");
}

TEST_F(Tools, ContinuesTheFinalMessage) {
  Serve();
  const json messages = json::parse(R"([{"role":"user","content":"q"},{"role":"assistant","content":"Once"}])");
  Ask(kPath, {{"messages", messages}, {"continue_final_message", true}});
  EXPECT_EQ(PromptText(0), "user: q\nassistant: Once");
  ErrorOf(Post(kPath, {{"messages", messages}, {"continue_final_message", true}, {"add_generation_prompt", true}}),
          400);
}

}  // namespace
}  // namespace switchyard::openai
