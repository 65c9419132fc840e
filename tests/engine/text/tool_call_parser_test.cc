#include "engine/text/tool_call_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace switchyard {
namespace {

struct Result {
  std::string content;
  std::vector<std::string> calls;  // "name(arguments)"

  bool operator==(const Result&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Result& result) {
  out << "content \"" << result.content << "\"";
  for (const std::string& call : result.calls) out << " call " << call;
  return out;
}

void Merge(const ToolCallText& text, Result* result) {
  result->content += text.content;
  for (const ToolCallText::Call& call : text.calls) {
    if (!call.name.empty()) {
      EXPECT_EQ(call.index, result->calls.size());
      result->calls.push_back(call.name + ":");
    }
    ASSERT_LT(call.index, result->calls.size());
    result->calls[call.index] += call.arguments;
  }
}

// Fed in two pieces cut at `cut`, or byte by byte where that is 0.
Result Parse(const std::string& text, bool incremental, size_t cut, size_t max_calls = 128,
             ToolCallFormat format = ToolCallFormat::kMistral) {
  ToolCallParser parser({.format = format, .incremental = incremental, .max_calls = max_calls});
  Result result;
  if (cut == 0) {
    for (const char c : text) Merge(parser.Append({&c, 1}), &result);
  } else {
    Merge(parser.Append(text.substr(0, cut)), &result);
    Merge(parser.Append(text.substr(cut)), &result);
  }
  Merge(parser.Finish(), &result);
  return result;
}

void ExpectInEverySplit(const std::string& text, const Result& wanted, bool both = true) {
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    for (const bool incremental : both ? std::vector<bool>{false, true} : std::vector<bool>{false}) {
      EXPECT_EQ(Parse(text, incremental, cut), wanted) << text << " cut at " << cut << ", incremental " << incremental;
    }
  }
}

void ExpectOfHermes(const std::string& text, const Result& wanted) {
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    for (const bool incremental : {false, true}) {
      EXPECT_EQ(Parse(text, incremental, cut, /*max_calls=*/128, ToolCallFormat::kHermes), wanted)
          << text << " cut at " << cut << ", incremental " << incremental;
    }
  }
}

TEST(ToolCallParser, TextWithoutCallsIsText) {
  for (const char* text : {"", "Hello", "[TOOL_CALLS", "[[TOOL_CALL]", "[TOOL[TOOL", "a [b] {c}"}) {
    ExpectInEverySplit(text, {text, {}});
  }
}

TEST(ToolCallParser, ReadsLists) {
  ExpectInEverySplit(R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": "}\"]{", "b": [1, {}]}}])",
                     {"", {R"(f:{"a": "}\"]{", "b": [1, {}]})"}});
  ExpectInEverySplit(
      R"(Let me see. [[TOOL_CALLS][{"name":"f","arguments":{}},{"name":"g","arguments":{"x":1},"id":"i"}])",
      {"Let me see. [", {"f:{}", R"(g:{"x":1})"}});
  ExpectInEverySplit(R"([TOOL_CALLS] {"name": "f", "parameters": {"a": 1}})", {"", {R"(f:{"a": 1})"}});
}

TEST(ToolCallParser, ReadsListsWithTheirKeysInAnotherOrder) {
  ExpectInEverySplit(R"([TOOL_CALLS] [{"arguments": {"a": 1}, "name": "f"}])", {"", {R"(f:{"a":1})"}});
  ExpectInEverySplit(R"([TOOL_CALLS] [{"name": "f", "arguments": "{\"a\": 1}"}])", {"", {R"(f:{"a": 1})"}});
  ExpectInEverySplit(R"([TOOL_CALLS] [{"id": "x", "name": "f", "arguments": {}}])", {"", {"f:{}"}});
}

TEST(ToolCallParser, ReadsNamesBeforeArguments) {
  ExpectInEverySplit(R"([TOOL_CALLS]f{"a": 1})", {"", {R"(f:{"a": 1})"}});
  ExpectInEverySplit(R"([TOOL_CALLS]get_x[ARGS]{"a": {"b": "é"}}[TOOL_CALLS]g-2[ARGS]{})",
                     {"", {R"(get_x:{"a": {"b": "é"}})", "g-2:{}"}});
  ExpectInEverySplit(R"([TOOL_CALLS]f[CALL_ID]123456789[ARGS]{"a": 1})", {"", {R"(f:{"a": 1})"}});
}

TEST(ToolCallParser, MalformedCallsAreText) {
  for (const char* text :
       {"[TOOL_CALLS]", "[TOOL_CALLS] []", "[TOOL_CALLS] !", "[TOOL_CALLS] [1]", R"([TOOL_CALLS] [{"name": "f"}])",
        R"([TOOL_CALLS] [{"name": 1, "arguments": {}}])", R"([TOOL_CALLS] [{"arguments": {}}])", "[TOOL_CALLS] f(x)\n",
        "[TOOL_CALLS]two words{}", "[TOOL_CALLS]f[OTHER]{}", R"([TOOL_CALLS] [{"name": "f", "arguments": [1]}])",
        R"([TOOL_CALLS] [{"name": "f)", R"([TOOL_CALLS] [{"name": "f", "arguments": )"}) {
    ExpectInEverySplit(text, {text, {}});
  }
}

TEST(ToolCallParser, ArgumentsThatAreNoJsonAreTextOnceTheCallIsWhole) {
  for (const char* text : {R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": tru}}])", "[TOOL_CALLS]f{a}",
                           R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": 1)"}) {
    ExpectInEverySplit(text, {text, {}}, /*both=*/false);
  }
}

TEST(ToolCallParser, AnUnfinishedCallKeepsWhatCameOut) {
  EXPECT_EQ(Parse(R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": 1)", true, 0), (Result{"", {R"(f:{"a": 1)"}}));
  EXPECT_EQ(Parse(R"([TOOL_CALLS] [{"name": "f", "arguments": {}}, )", true, 0), (Result{"", {"f:{}"}}));
}

TEST(ToolCallParser, LeavesOutCallsBeyondTheLimit) {
  const std::string text = R"([TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}] end)";
  for (const bool incremental : {false, true}) {
    EXPECT_EQ(Parse(text, incremental, 0, /*max_calls=*/1), (Result{" end", {"f:{}"}}));
  }
}

TEST(ToolCallParser, ReadsHermesCalls) {
  ExpectOfHermes("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\"}}\n</tool_call>",
                 {"", {R"(f:{"a": "</tool_call>"})"}});
  ExpectOfHermes(
      "Let me see. <<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>\n{\"arguments\":{\"x\":1},"
      "\"name\":\"g\"}\n</tool_call>\n\nThat is all.",
      {"Let me see. <That is all.", {"f:{}", R"(g:{"x":1})"}});
}

TEST(ToolCallParser, HermesCallsMayLackTheirEnds) {
  constexpr const char* kCall = R"(<tool_call>{"name":"f","arguments":{"a":1}})";
  const std::string call = R"(f:{"a":1})";
  ExpectOfHermes(kCall, {"", {call}});
  ExpectOfHermes(std::string(kCall) + "\n</tool", {"", {call}});
  ExpectOfHermes(std::string(kCall) + kCall, {"", {call, call}});
  ExpectOfHermes(std::string(kCall) + "</tool> text", {"</tool> text", {call}});
}

TEST(ToolCallParser, WhatIsNoHermesCallIsText) {
  for (const char* text : {"<tool_call", "<tool_call>f", "<tool_call>[1]", "<tool_call>\n{\"a\":1}", "a < b",
                           "<tool_call>{\"name\":\"f\"", R"([TOOL_CALLS] [{"name":"f","arguments":{}}])"}) {
    ExpectOfHermes(text, {text, {}});
  }
}

}  // namespace
}  // namespace switchyard
