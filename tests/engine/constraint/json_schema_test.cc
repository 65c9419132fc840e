#include "engine/constraint/json_schema.h"

#include <gtest/gtest.h>

#include <ctime>

#include "tests/engine/constraint/piece_tokenizer.h"

namespace switchyard {
namespace {

struct Case {
  const char* schema;
  std::vector<const char*> taken;
  std::vector<const char*> refused;
};

const PieceTokenizer& Bytes() {
  static const PieceTokenizer tokenizer;
  return tokenizer;
}

absl::StatusOr<std::shared_ptr<Grammar>> Compile(const std::string& schema, const ConstraintLimits& limits = {}) {
  return ConstraintCompiler(&Bytes(), Bytes().vocab_size(), 0, limits).Compile(SchemaSpec(schema));
}

void Check(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    const auto grammar = Compile(each.schema);
    ASSERT_TRUE(grammar.ok()) << each.schema << ": " << grammar.status();
    for (const char* text : each.taken) EXPECT_TRUE(Accepts(*grammar, text)) << each.schema << " should take " << text;
    for (const char* text : each.refused) {
      EXPECT_FALSE(Accepts(*grammar, text)) << each.schema << " should refuse " << text;
    }
  }
}

TEST(JsonSchema, Types) {
  Check({
      {R"({"type":"null"})", {"null", " null"}, {"", "nul", "nulll", "  null", "null ", "0"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"True", "null", "1"}},
      {R"({"type":"integer"})",
       {"0", "-7", "123456789012345678"},
       {"01", "1.0", "1e3", "+1", "-", "1234567890123456789"}},
      {R"({"type":"number"})", {"0", "-0.5", "1.25e-7", "3E+2"}, {".5", "1.", "01", "1e", "NaN", "Infinity", "1e999"}},
      {R"({"type":"string"})",
       {R"("")", R"("a b")", R"("\"\\\/\b\f\n\r\t\u00e9")", R"("\ud83d\ude00")", "\"h\xc3\xa9llo\"",
        "\"\xf0\x9f\x98\x80\""},
       {R"(")", R"("a)", "\"\n\"", R"("\x")", R"("\u12g4")", R"("\ud83d")", R"("\ude00")", "\"\xff\"", "\"\xc3\"",
        "\"\xed\xa0\x80\"", "\"\xc0\x80\""}},
      {R"({"type":["integer","null"]})", {"3", "null"}, {"\"3\"", "3null"}},
      {R"({"type":"array"})", {"[]", R"([1, "a",[true], {}])"}, {"[,]", "[1,]", "[1 ,2]", "[1,  2]", "[\n]"}},
      {R"({"type":"object"})", {"{}", R"({"a": 1,"b":{"c": []}})"}, {"{a:1}", R"({"a"})", R"({"a":1,})", "{ }"}},
      {R"({})", {"1", "\"x\"", "[]", "{}", "null"}, {"", "x"}},
      {R"(true)", {"1", "{\"a\":[{}]}"}, {"]"}},
  });
}

TEST(JsonSchema, Objects) {
  Check({
      {R"({"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"string"}},"required":["z"]})",
       {R"({"z":1})", R"({"z": 1, "a": "x"})"},
       {"{}", R"({"a":"x"})", R"({"a":"x","z":1})", R"({"z":1,"z":2})", R"({"z":1,"b":2})", R"({"z":"1"})"}},
      {R"({"properties":{"a":{},"b":{},"c":{}},"additionalProperties":false})",
       {"{}", R"({"a":1})", R"({"b":1})", R"({"c":1})", R"({"a":1,"c":2})", R"({"a":1,"b":[],"c":2})"},
       {R"({"c":1,"a":2})", R"({"d":1})", R"({,"a":1})", R"({"a":1,})"}},
      {R"({"properties":{"a":{"type":"null"}},"additionalProperties":{"type":"integer"}})",
       {"{}", R"({"a":null,"b":1,"c":2})", R"({"x":1})", R"({"aa":1})", R"({"":1})"},
       {R"({"b":null})", R"({"b":1,"a":null})", R"({"a":1})", R"({"\u0061":1})"}},
      {R"({"type":"object","additionalProperties":{"type":"boolean"}})",
       {"{}", R"({"k":true,"l":false})"},
       {R"({"k":1})"}},
      {R"({"type":"object","required":["q"]})", {R"({"q":1})", R"({"q":1,"r":{}})"}, {"{}", R"({"r":1})"}},
      {R"({"type":"object","patternProperties":{"^x[0-9]$":{"type":"integer"}},"additionalProperties":false})",
       {"{}", R"({"x1":1,"x2":2})"},
       {R"({"y":1})", R"({"x1":"a"})", R"({"x12":1})"}},
      {R"({"type":"object","properties":{"a\"b\\é":{"type":"null"}},"required":["a\"b\\é"]})",
       {R"({"a\"b\\é":null})"},
       {R"({"a"b":null})"}},
      {R"({"properties":{"bad":false,"ok":{"type":"null"}}})", {"{}", R"({"ok":null})"}, {R"({"bad":1})"}},
      {R"({"properties":{"a":{}},"required":["a"],"minProperties":1,"maxProperties":2})", {R"({"a":1})"}, {"{}"}},
  });
}

TEST(JsonSchema, Arrays) {
  Check({
      {R"({"items":{"type":"integer"}})", {"[]", "[1]", "[1, 2,3]"}, {"[\"a\"]", "[1,null]"}},
      {R"({"items":{"type":"integer"},"minItems":2,"maxItems":3})", {"[1,2]", "[1,2,3]"}, {"[]", "[1]", "[1,2,3,4]"}},
      {R"({"type":"array","minItems":1})", {"[1]", "[1,2,3,4,5]"}, {"[]"}},
      {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2})",
       {R"([1,"a"])"},
       {"[1]", R"([1,"a",2])", R"(["a",1])"}},
      {R"({"prefixItems":[{"type":"integer"}],"items":{"type":"null"}})",
       {"[]", "[1]", "[1,null,null]"},
       {"[null]", "[1,2]"}},
  });
}

TEST(JsonSchema, Strings) {
  Check({
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("abc")", "\"\xc3\xa9\xc3\xa9\"", R"("\u00e9\n")"},
       {R"("a")", R"("abcd")", R"("")"}},
      {R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"}},
      {R"({"type":"string","minLength":3})", {R"("abc")", R"("abcdefghij")"}, {R"("ab")"}},
      {R"({"pattern":"^[a-c]{2}$"})", {R"("ab")"}, {R"("a")", R"("abc")", R"("xab")"}},
      {R"({"pattern":"b+"})", {R"("b")", R"("abbc")"}, {R"("ac")", R"("")"}},
      {R"({"pattern":"^a"})", {R"("a")", R"("ab")"}, {R"("ba")"}},
      {R"({"pattern":"^a.*$","minLength":2,"maxLength":3})", {R"("ab")", R"("abc")"}, {R"("a")", R"("abcd")"}},
      {R"({"pattern":"^\"\\\\$"})", {R"("\"\\")"}, {R"("\"")"}},
      {R"({"allOf":[{"pattern":"^a"},{"pattern":"z$"}]})", {R"("az")", R"("abz")"}, {R"("a")", R"("z")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-01-31")"},
       {R"("2024-02-30")", R"("2024-13-01")", R"("24-01-01")", R"("2024-04-31")"}},
      {R"({"type":"string","format":"date-time"})",
       {R"("2024-01-31T23:59:59Z")", R"("2024-01-31T00:00:00.5+01:00")"},
       {R"("2024-01-31")"}},
      {R"({"type":"string","format":"time"})", {R"("12:00:00Z")"}, {R"("25:00:00Z")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"type":"string","format":"email"})", {R"("a.b@example.org")"}, {R"("a@b")", R"(".a@example.org")"}},
      {R"({"type":"string","format":"ipv4"})", {R"("192.168.0.255")"}, {R"("256.1.1.1")", R"("1.2.3")"}},
  });
}

TEST(JsonSchema, Numbers) {
  Check({
      {R"({"type":"integer","minimum":-5,"maximum":120})",
       {"-5", "-1", "0", "9", "10", "99", "100", "120"},
       {"-6", "-10", "121", "200", "1000", "-0", "00", "1.0"}},
      {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":11})", {"10"}, {"9", "11"}},
      {R"({"type":"integer","minimum":17})", {"17", "18", "99", "100"}, {"16", "9", "-17"}},
      {R"({"type":"integer","maximum":-3})", {"-3", "-4", "-10", "-999"}, {"-2", "0", "3"}},
      {R"({"type":"integer","minimum":1.5,"maximum":3.5})", {"2", "3"}, {"1", "4"}},
      {R"({"type":"number","minimum":0.25,"exclusiveMaximum":1})",
       {"0.25", "0.3", "0.999", "0.250"},
       {"0", "0.2", "0.2499", "1", "1.0", "1.1", "-0.5"}},
      {R"({"type":"number","minimum":-1.5,"maximum":2})",
       {"-1.5", "-1.49", "0", "0.0", "2", "2.0", "1.999"},
       {"-1.51", "-2", "2.01", "3"}},
      {R"({"type":"integer","multipleOf":7,"minimum":1,"maximum":50})", {"7", "14", "49"}, {"0", "1", "8", "56"}},
  });
}

TEST(JsonSchema, ValuesAndCombinations) {
  Check({
      {R"({"enum":["a","b c",1,null,{"x":[1,2]}]})",
       {R"("a")", R"("b c")", "1", "null", R"({"x":[1,2]})"},
       {R"("b")", "2"}},
      {R"({"type":"integer","enum":[1,"a",5,9],"minimum":2})", {"5", "9"}, {"1", R"("a")"}},
      {R"({"const":"only"})", {R"("only")"}, {R"("other")"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"12", R"("a")"}, {R"("ab")", "null"}},
      {R"({"oneOf":[{"const":1},{"const":12}]})", {"1", "12"}, {"2", "123"}},
      {R"({"type":"integer","anyOf":[{"minimum":10},{"maximum":-10}]})", {"10", "-10"}, {"0"}},
      {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"null"}}}]})",
       {R"({"a":1})", R"({"a":1,"b":null})"},
       {"{}", R"({"b":null})"}},
      {R"({"allOf":[{"type":["integer","string"]},{"type":["integer","null"]}],"minimum":3})",
       {"3"},
       {"2", "null", R"("3")"}},
      {R"({"anyOf":[{"properties":{"k":{"const":"a"},"v":{"type":"integer"}},"required":["k","v"]},
                    {"properties":{"k":{"const":"b"},"v":{"type":"null"}},"required":["k","v"]}]})",
       {R"({"k":"a","v":1})", R"({"k":"b","v":null})"},
       {R"({"k":"a","v":null})", R"({"k":"b","v":1})"}},
  });
}

TEST(JsonSchema, References) {
  Check({
      {R"({"$defs":{"p":{"type":"integer"}},"items":{"$ref":"#/$defs/p"}})", {"[1,2]"}, {"[null]"}},
      {R"({"definitions":{"a/b":{"type":"null"}},"$ref":"#/definitions/a~1b"})", {"null"}, {"1"}},
      {R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},
           "required":["v","next"]})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
       {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}},
      {R"({"$defs":{"t":{"items":{"$ref":"#/$defs/t"}}},"$ref":"#/$defs/t"})", {"[]", "[[],[[]]]"}, {"[1]"}},
      {R"({"$defs":{"p":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/p","maximum":3,"minimum":0}}})",
       {R"({"a":3})"},
       {R"({"a":4})"}},
  });
}

TEST(JsonSchema, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"not":{}})", "not at # is unsupported"},
      {R"({"if":{},"then":{}})", "if at #"},
      {R"({"properties":{"a":{"uniqueItems":true}}})", "uniqueItems at #/properties/a"},
      {R"({"items":{"contains":{}}})", "contains at #/items"},
      {R"({"dependentRequired":{}})", "dependentRequired"},
      {R"({"propertyNames":{}})", "propertyNames"},
      {R"({"misspelt":1})", "misspelt at #"},
      {R"({"type":"string","format":"hostname"})", "format at # is \"hostname\""},
      {R"({"type":"text"})", "type at # must be"},
      {R"({"minLength":-1})", "minLength at #"},
      {R"({"minLength":"3"})", "minLength at #"},
      {R"({"minimum":"3"})", "minimum at # must be a number"},
      {R"({"type":"number","multipleOf":0.01})", "multipleOf at #"},
      {R"({"enum":3})", "enum at #"},
      {R"({"required":"a"})", "required at #"},
      {R"({"properties":[]})", "properties at #"},
      {R"({"properties":{"a":3}})", "must be an object, true or false"},
      {R"({"anyOf":[]})", "anyOf at #"},
      {R"({"$ref":"other.json"})", "$ref at # is \"other.json\""},
      {R"({"$ref":"#/$defs/none"})", "there is no such place"},
      {R"({"$ref":"#"})", "remove the cycle"},
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "remove the cycle"},
      {R"({"allOf":[{"$ref":"#"}]})", "remove the cycle"},
      {R"_({"pattern":"(?=a)"})_", "lookaround"},
      {R"({"pattern":"a(b"})", "without its )"},
      {R"(false)", "no text satisfies it"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no text satisfies it"},
      {R"({"type":"string","minLength":5,"maxLength":4})", "no text satisfies it"},
      {R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})", "no text satisfies it"},
      {R"({"enum":[]})", "no text satisfies it"},
      {R"({"a":)", "no JSON"},
      {R"({"type":"null","type":"null"})", "\"type\" twice"},
      {R"([])", "must be an object, true or false"},
      {R"({"minProperties":3})", "minProperties"},
      {R"({"maxProperties":3})", "maxProperties"},
  };
  for (const auto& [schema, message] : cases) {
    const auto grammar = Compile(schema);
    EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << schema;
    EXPECT_NE(grammar.status().message().find(message), absl::string_view::npos)
        << schema << ": " << grammar.status().message();
  }
}

TEST(JsonSchema, BombsMeetALimitThatIsNamed) {
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += R"({"items":)";
  EXPECT_NE(Compile(deep).status().message().find("64 deep"), absl::string_view::npos) << Compile(deep).status();
  EXPECT_NE(Compile("\"" + std::string(300 << 10, 'x') + "\"").status().message().find("bytes"),
            absl::string_view::npos);
  std::string wide = R"({"properties":{"x":true)";
  for (int i = 0; i < 5000; ++i) wide += ",\"" + std::to_string(i) + "\":1";
  EXPECT_NE(Compile(wide + "}}").status().message().find("2048 members"), absl::string_view::npos);
  // 2^40 combinations of alternatives.
  std::string product = R"({"allOf":[)";
  for (int i = 0; i < 40; ++i) {
    const std::string n = std::to_string(i);
    product += (i > 0 ? "," : "") + std::string(R"({"anyOf":[{"required":["a)") + n + R"("]},{"required":["b)" + n +
               R"("]}]})";
  }
  const std::string bombs[] = {
      R"({"type":"string","maxLength":1000000000})",
      R"({"type":"array","minItems":1000000000})",
      R"({"pattern":"^(((a{1,100}){1,100}){1,100}){1,100}$"})",
      R"({"pattern":"^(a|b)*a(a|b){40}$"})",
      R"({"pattern":"(x+x+)+y(x+x+)+y(x+x+)+(a|b)*a(a|b){40}"})",
      product + "]}",
  };
  for (const std::string& bomb : bombs) {
    const std::clock_t begin = std::clock();
    const auto grammar = Compile(bomb);
    EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << bomb.substr(0, 80);
    EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 8) << "seconds of CPU: " << bomb.substr(0, 80);
  }
}

}  // namespace
}  // namespace switchyard
