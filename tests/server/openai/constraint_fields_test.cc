// response_format and its kin, down to the rules that the engine is given.
#include "server/openai/constraint_fields.h"

#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

class ConstraintFields : public ApiTest {
 protected:
  HttpReply PostText(const std::string& path, const std::string& body) {
    return HttpClient(server_->port()).Post(path, body);
  }
  static std::string Completion(const std::string& fields) { return R"({"prompt":"Hi",)" + fields + "}"; }
  // The rules of the request that these fields made.
  TokenRules RulesOf(const std::string& fields) {
    const HttpReply reply = PostText("/v1/completions", Completion(fields));
    EXPECT_EQ(reply.status, 200) << fields << reply.body;
    const std::vector<GenerationRequest> submitted = engine_->submitted();
    return submitted.empty() ? TokenRules() : submitted.back().rules;
  }
  static bool Accepts(const TokenRules& rules, std::string_view text) {
    if (rules.grammar == nullptr) return true;
    GrammarMatcher matcher(rules.grammar);
    for (const char byte : text) {
      if (!matcher.Accept(FakeTokenizer::kFirstByte + static_cast<uint8_t>(byte)).ok()) return false;
    }
    return matcher.MayEnd();
  }
};

TEST_F(ConstraintFields, BecomeAGrammar) {
  Serve();
  struct Case {
    const char* fields;
    const char* taken;
    const char* refused;
  };
  const Case cases[] = {
      {R"("response_format":{"type":"json_object"})", R"({"a": 1})", "[1]"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"integer"}}})",
       "12", "\"a\""},
      {R"("guided_json":{"type":"boolean"})", "true", "1"},
      {R"("guided_json":"{\"type\":\"boolean\"}")", "false", "1"},
      {R"("guided_regex":"[ab]+")", "abba", "c"},
      {R"("guided_choice":["yes","no"])", "no", "maybe"},
      {R"("structured_outputs":{"json":{"type":"null"}})", "null", "1"},
      {R"("structured_outputs":{"regex":"x"})", "x", "y"},
      {R"("structured_outputs":{"choice":["u"]})", "u", "v"},
      {R"("structured_outputs":{"json_object":true})", "{}", "1"},
  };
  for (const Case& each : cases) {
    const TokenRules rules = RulesOf(each.fields);
    ASSERT_NE(rules.grammar, nullptr) << each.fields;
    EXPECT_TRUE(Accepts(rules, each.taken)) << each.fields;
    EXPECT_FALSE(Accepts(rules, each.refused)) << each.fields;
  }
  EXPECT_EQ(RulesOf(R"("response_format":{"type":"text"},"guided_json":null)").grammar, nullptr);
}

TEST_F(ConstraintFields, KeepThePropertiesInTheClientsOrder) {
  Serve();
  const TokenRules rules = RulesOf(
      R"("response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"z":{},"a":{}},"required":["a","z"]}}})");
  EXPECT_TRUE(Accepts(rules, R"({"z":1,"a":2})"));
  EXPECT_FALSE(Accepts(rules, R"({"a":2,"z":1})"));
}

TEST_F(ConstraintFields, ListsOfTokensAndTexts) {
  Serve();
  EXPECT_EQ(RulesOf(R"("allowed_token_ids":[5,9])").allowed_ids, (std::vector<int32_t>{5, 9}));
  EXPECT_NE(RulesOf(R"("bad_words":["damn"])").forbidden, nullptr);
  EXPECT_TRUE(RulesOf(R"("bad_words":[])").empty());
}

TEST_F(ConstraintFields, ChoicesOfOnePromptShareOneGrammar) {
  Serve();
  EXPECT_EQ(PostText("/v1/completions", Completion(R"("n":3,"guided_regex":"a*")")).status, 200);
  const std::vector<GenerationRequest> submitted = engine_->submitted();
  ASSERT_EQ(submitted.size(), 3u);
  EXPECT_NE(submitted[0].rules.grammar, nullptr);
  EXPECT_EQ(submitted[0].rules.grammar, submitted[2].rules.grammar);
}

TEST_F(ConstraintFields, RefusalsNameTheFieldAndTheReason) {
  Serve();
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {R"("response_format":"json")", "response_format", "object"},
      {R"("response_format":{"type":"xml"})", "response_format.type", "xml"},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema", "schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":{"not":{}}}})", "response_format.json_schema",
       "not at #"},
      {R"("guided_json":{"type":"string","maxLength":100000000})", "guided_json", "states"},
      {R"("guided_json":7)", "guided_json", "schema"},
      {R"_("guided_regex":"(?=a)")_", "guided_regex", "lookaround"},
      {R"("guided_choice":[])", "guided_choice", "empty"},
      {R"("guided_choice":[1])", "guided_choice", "strings"},
      {R"("structured_outputs":{"grammar":"root ::= x"})", "structured_outputs.grammar", "unsupported"},
      {R"("guided_regex":"a","guided_choice":["a"])", "guided_choice", "combined"},
      {R"("allowed_token_ids":[259])", "allowed_token_ids", "258"},
      {R"("allowed_token_ids":[])", "allowed_token_ids", "empty"},
      {R"("bad_words":[""])", "bad_words", "empty"},
      {R"("bad_words":"x")", "bad_words", "array"},
  };
  for (const auto& [fields, param, reason] : cases) {
    const json error = ErrorOf(PostText("/v1/completions", Completion(fields)), 400);
    const std::string named = error["param"].is_string() ? error["param"].get<std::string>() : "";
    EXPECT_TRUE(named.starts_with(param)) << fields << error.dump();
    EXPECT_NE(error["message"].get<std::string>().find(reason), std::string::npos) << fields << error.dump();
  }
  EXPECT_TRUE(engine_->submitted().empty());
}

TEST_F(ConstraintFields, NeedATokenizer) {
  Serve({.has_tokenizer = false});
  for (const char* fields : {R"("guided_regex":"a")", R"("bad_words":["a"])"}) {
    ErrorOf(PostText("/v1/completions", std::string(R"({"prompt":[5],)") + fields + "}"), 400);
  }
}

}  // namespace
}  // namespace switchyard::openai
