#include "engine/constraint/token_rules.h"

#include <gtest/gtest.h>

#include "engine/constraint/tool_calls.h"
#include "tests/engine/constraint/piece_tokenizer.h"

namespace switchyard {
namespace {

class TokenRulesTest : public testing::Test {
 protected:
  std::vector<int32_t> AllowedOf(const TokenRuleState& state) {
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < tokenizer_.vocab_size(); ++id) {
      if (state.allowed() == nullptr || IsAllowed(*state.allowed(), id)) ids.push_back(id);
    }
    return ids;
  }
  static int32_t Id(char byte) { return PieceTokenizer::ByteId(byte); }

  const PieceTokenizer tokenizer_{{"ab", "bad"}};
  ConstraintCompiler compiler_{&tokenizer_, tokenizer_.vocab_size()};
};

TEST_F(TokenRulesTest, WithoutRulesEverythingIsAllowed) {
  TokenRuleState state({}, {PieceTokenizer::kEos});
  ASSERT_TRUE(state.Prepare().ok());
  EXPECT_EQ(state.allowed(), nullptr);
  EXPECT_TRUE(state.Accept(3).ok());
  EXPECT_FALSE(state.finished());
}

TEST_F(TokenRulesTest, TheEndIsAllowedWhereTheTextMayEnd) {
  TokenRuleState state({.grammar = *compiler_.Compile(RegexSpec("a(b)?")), .vocab_size = tokenizer_.vocab_size()},
                       {PieceTokenizer::kEos});
  ASSERT_TRUE(state.Prepare().ok());
  EXPECT_EQ(AllowedOf(state), (std::vector<int32_t>{Id('a'), PieceTokenizer::PieceId(0)}));
  ASSERT_TRUE(state.Accept(Id('a')).ok());
  EXPECT_EQ(AllowedOf(state), (std::vector<int32_t>{PieceTokenizer::kEos, Id('b')}));
  ASSERT_TRUE(state.Accept(Id('b')).ok());
  EXPECT_TRUE(state.finished()) << "nothing can be added";
}

TEST_F(TokenRulesTest, FirstTokensComeFirst) {
  TokenRuleState state(
      {.first_tokens = {0, 5}, .grammar = *compiler_.Compile(RegexSpec("ab")), .vocab_size = tokenizer_.vocab_size()},
      {PieceTokenizer::kEos});
  ASSERT_TRUE(state.Prepare().ok());
  EXPECT_EQ(AllowedOf(state), std::vector<int32_t>{0});
  ASSERT_TRUE(state.Accept(0).ok());
  EXPECT_EQ(AllowedOf(state), std::vector<int32_t>{5});
  ASSERT_TRUE(state.Accept(5).ok());
  EXPECT_EQ(AllowedOf(state), (std::vector<int32_t>{Id('a'), PieceTokenizer::PieceId(0)}));
}

TEST_F(TokenRulesTest, ListsAndForbiddenTextsIntersect) {
  const std::vector<std::string> bad = {"bad", "aa"};
  TokenRuleState state({.forbidden = *compiler_.Forbid(bad),
                        .allowed_ids = {Id('a'), Id('b'), Id('d'), PieceTokenizer::PieceId(1)},
                        .vocab_size = tokenizer_.vocab_size()},
                       {PieceTokenizer::kEos});
  ASSERT_TRUE(state.Prepare().ok());
  EXPECT_EQ(AllowedOf(state), (std::vector<int32_t>{Id('a'), Id('b'), Id('d')}));
  ASSERT_TRUE(state.Accept(Id('b')).ok());
  ASSERT_TRUE(state.Accept(Id('a')).ok());
  EXPECT_EQ(AllowedOf(state), std::vector<int32_t>{Id('b')});
}

TEST_F(TokenRulesTest, NothingLeftIsAnError) {
  TokenRuleState state(
      {.grammar = *compiler_.Compile(RegexSpec("ab")), .allowed_ids = {Id('b')}, .vocab_size = tokenizer_.vocab_size()},
      {PieceTokenizer::kEos});
  EXPECT_EQ(state.Prepare().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TokenRulesTest, TheCompilerKeepsWhatItMadeAndForgetsTheOldest) {
  ConstraintCompiler compiler(&tokenizer_, tokenizer_.vocab_size(), /*max_kept=*/2);
  const auto a = *compiler.Compile(RegexSpec("a"));
  const auto b = *compiler.Compile(RegexSpec("b"));
  EXPECT_EQ(*compiler.Compile(RegexSpec("a")), a);
  const auto c = *compiler.Compile(RegexSpec("c"));
  EXPECT_EQ(*compiler.Compile(RegexSpec("a")), a);
  EXPECT_NE(*compiler.Compile(RegexSpec("b")), b);
  EXPECT_NE(*compiler.Compile({.kind = ConstraintSpec::Kind::kChoice, .choices = {"a"}}), a);
}

TEST_F(TokenRulesTest, ADroppedSpaceIsNotPartOfTheText) {
  ConstraintSpec spec = {.kind = ConstraintSpec::Kind::kChoice, .choices = {"yes", " no"}};
  EXPECT_FALSE(Accepts(*compiler_.Compile(spec), " yes"));
  EXPECT_TRUE(Accepts(*compiler_.Compile(spec), " no"));
  spec.leading_space_is_dropped = true;
  for (const char* text : {"yes", " yes", "  no"}) EXPECT_TRUE(Accepts(*compiler_.Compile(spec), text)) << text;
  EXPECT_FALSE(Accepts(*compiler_.Compile(spec), " no")) << "it would be read as 'no'";
}

TEST_F(TokenRulesTest, APrefixStandsBeforeTheDocument) {
  ConstraintSpec spec = SchemaSpec(R"({"type":"array","items":{"const":1}})");
  spec.prefix = "[TOOL_CALLS] ";
  EXPECT_TRUE(Accepts(*compiler_.Compile(spec), "[TOOL_CALLS] [1, 1]"));
  EXPECT_FALSE(Accepts(*compiler_.Compile(spec), "[1]"));
}

TEST_F(TokenRulesTest, ToolCallsAreOfTheFunctionsAndTheirParameters) {
  const ToolFunction functions[] = {
      {.name = "add",
       .parameters = R"({"$defs":{"n":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"]})"},
      {.name = "now", .parameters = ""}};
  ConstraintSpec spec = *ToolCallConstraint(functions, ToolCallList::kMany);
  const char* both = R"([{"name": "add", "arguments": {"a": 1}}, {"name": "now", "arguments": {}}])";
  const char* one = R"([{"name":"add","arguments":{"a":1}}])";
  EXPECT_TRUE(Accepts(*compiler_.Compile(spec), both));
  EXPECT_TRUE(Accepts(*compiler_.Compile(spec), one));
  for (const char* text : {"[]", R"([{"name":"add","arguments":{"a":"x"}}])", R"([{"name":"sub","arguments":{}}])"}) {
    EXPECT_FALSE(Accepts(*compiler_.Compile(spec), text)) << text;
  }
  spec = *ToolCallConstraint(functions, ToolCallList::kOne);
  EXPECT_TRUE(Accepts(*compiler_.Compile(spec), one));
  EXPECT_FALSE(Accepts(*compiler_.Compile(spec), both));
  spec = *ToolCallConstraint(functions, ToolCallList::kBare);
  EXPECT_TRUE(Accepts(*compiler_.Compile(spec), R"({"name": "add", "arguments": {"a": 1}})"));
  EXPECT_FALSE(Accepts(*compiler_.Compile(spec), R"({"name": "add", "arguments": {}})"));
  EXPECT_FALSE(Accepts(*compiler_.Compile(spec), one));
  EXPECT_FALSE(ToolCallConstraint({}, ToolCallList::kMany).ok());
  EXPECT_FALSE(
      ToolCallConstraint(std::vector<ToolFunction>{{.name = "f", .parameters = "x"}}, ToolCallList::kMany).ok());
}

}  // namespace
}  // namespace switchyard
