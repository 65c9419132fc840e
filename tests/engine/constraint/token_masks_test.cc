#include "engine/constraint/token_masks.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/constraint/piece_tokenizer.h"

namespace switchyard {
namespace {

// Tokens that run through the ends of strings, objects and arrays, and through half a character.
const std::vector<std::string>& Pieces() {
  static const std::vector<std::string> pieces = {
      "{\"",    "\"}",      "\":",        "\": ",
      "\",",    "\", \"",   "}}",         "}]",
      "}}}",    "]]",       "[[",         "[{\"",
      "],[",    "null",     "nul",        "true",
      "12",     "1.5",      "-",          "e+",
      "\\u00",  "\\\"",     "abc",        " abc",
      "a\"",    "a\":1}",   "\xc3",       "\xa9\"",
      "\"a\":", ",\"b\":",  "b\": ",      "{}",
      "[]",     "\"\"",     " ",          "  ",
      "1,",     "1}",       "0]",         "\n",
      "value",  "lue\":\"", "name\": \"", "{\"name\": \"x\", \"value\": 1}"};
  return pieces;
}

TEST(TokenMasks, AllowExactlyTheTokensThatTheMatcherAccepts) {
  const PieceTokenizer tokenizer(Pieces());
  ConstraintCompiler compiler(&tokenizer, tokenizer.vocab_size() + 5);
  const ConstraintSpec specs[] = {
      {},
      SchemaSpec(R"({})"),
      SchemaSpec(R"({"properties":{"name":{"type":"string","maxLength":5},"value":{"type":"integer"},"b":{}}})"),
      SchemaSpec(
          R"({"items":{"anyOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"a":{"type":"null"},"b":{}},"required":["a"]}]}})"),
      SchemaSpec(
          R"({"$defs":{"n":{"properties":{"a":{"type":["number","null"]},"b":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"})"),
      SchemaSpec(
          R"({"type":"array","items":{"type":"string","minLength":1,"maxLength":40},"minItems":1,"maxItems":3})"),
      SchemaSpec(R"({"type":"object","additionalProperties":{"enum":["abc","a\"",12,1.5]}})"),
      RegexSpec("(abc|[0-9]{2,3} )*value"),
      {.kind = ConstraintSpec::Kind::kChoice, .choices = {"null", "nullabc", " abc"}, .leading_space_is_dropped = true},
  };
  std::mt19937 random(11);
  for (const ConstraintSpec& spec : specs) {
    const auto grammar = compiler.Compile(spec);
    ASSERT_TRUE(grammar.ok()) << spec.text << grammar.status();
    for (int round = 0; round < 12; ++round) {
      GrammarMatcher matcher(*grammar);
      std::string text;
      for (int step = 0; step < 30; ++step) {
        const auto mask = matcher.Allowed();
        ASSERT_TRUE(mask.ok());
        std::vector<int32_t> allowed;
        for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
          GrammarMatcher trial = matcher;
          ASSERT_EQ(trial.Accept(id).ok(), IsAllowed(*mask, id))
              << spec.text << ": '" << text << "' + '" << tokenizer.Bytes(id) << "'";
          if (IsAllowed(*mask, id)) allowed.push_back(id);
          if (IsAllowed(*mask, id) && id >= PieceTokenizer::PieceId(0)) allowed.insert(allowed.end(), 20, id);
        }
        for (int32_t id = tokenizer.vocab_size(); id < tokenizer.vocab_size() + 5; ++id)
          EXPECT_FALSE(IsAllowed(*mask, id));
        if (allowed.empty()) {
          EXPECT_TRUE(matcher.MayEnd()) << "a dead end after '" << text << "'";
          break;
        }
        const int32_t token = allowed[random() % allowed.size()];
        text += tokenizer.Bytes(token);
        ASSERT_TRUE(matcher.Accept(token).ok());
      }
    }
  }
}

TEST(TokenMasks, LongStringsShareTheMasksOfTheirPositions) {
  const PieceTokenizer tokenizer(Pieces());
  ConstraintCompiler compiler(&tokenizer, tokenizer.vocab_size());
  const auto grammar = compiler.Compile(SchemaSpec(R"({"type":"string","maxLength":2000})"));
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  GrammarMatcher matcher(*grammar);
  ASSERT_TRUE(matcher.Accept(PieceTokenizer::ByteId('"')).ok());
  const auto first = matcher.Allowed();
  for (int i = 0; i < 1999; ++i) ASSERT_TRUE(matcher.Accept(PieceTokenizer::ByteId('a')).ok());
  EXPECT_NE(*matcher.Allowed(), *first) << "one character is left";
  ASSERT_TRUE(matcher.Accept(PieceTokenizer::ByteId('a')).ok());
  const auto last = matcher.Allowed();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    EXPECT_EQ(IsAllowed(*last, id), id == PieceTokenizer::ByteId('"')) << tokenizer.Bytes(id);
  }
}

TEST(TokenMasks, AVeryLongStringNeedsNoDeepStack) {
  const PieceTokenizer tokenizer(Pieces());
  ConstraintCompiler compiler(&tokenizer, tokenizer.vocab_size());
  const auto grammar = compiler.Compile(SchemaSpec(R"({"type":"string","maxLength":60000})"));
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  GrammarMatcher matcher(*grammar);
  ASSERT_TRUE(matcher.Accept(PieceTokenizer::ByteId('"')).ok());
  EXPECT_TRUE(matcher.Allowed().ok());
}

TEST(TokenMasks, AmbiguityWithoutBoundIsAnErrorAndNoHang) {
  const PieceTokenizer tokenizer(Pieces());
  ConstraintCompiler compiler(&tokenizer, tokenizer.vocab_size());
  const auto grammar = compiler.Compile(SchemaSpec(
      R"({"$defs":{"a":{"anyOf":[{"prefixItems":[{"$ref":"#/$defs/a"},{"const":1}]},{"prefixItems":[{"$ref":"#/$defs/b"},{"const":1}]}]},
                   "b":{"anyOf":[{"prefixItems":[{"$ref":"#/$defs/a"},{"const":2}]},{"prefixItems":[{"$ref":"#/$defs/b"},{"const":2}]}]}},
          "$ref":"#/$defs/a"})"));
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  GrammarMatcher matcher(*grammar);
  absl::Status status;
  for (int i = 0; i < 64 && status.ok(); ++i) {
    status = matcher.Accept(PieceTokenizer::ByteId('['));
    if (status.ok()) status = matcher.Allowed().status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

}  // namespace
}  // namespace switchyard
