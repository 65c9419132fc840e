#include "engine/constraint/regex.h"

#include <gtest/gtest.h>

#include "absl/status/statusor.h"

namespace switchyard {
namespace {

absl::StatusOr<ByteDfa> Compile(std::string_view pattern, RegexScope scope = RegexScope::kWhole) {
  CompileBudget budget((ConstraintLimits()));
  ByteDfa dfa = CompileRegex(pattern, scope, TextForm::kPlain, &budget);
  if (!budget.ok()) return budget.status();
  return dfa;
}

TEST(Regex, TakesWhatItSays) {
  struct Case {
    const char* pattern;
    std::vector<const char*> taken;
    std::vector<const char*> refused;
  };
  const std::vector<Case> cases = {
      {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"a*", {"", "a", "aaaa"}, {"b"}},
      {"a+b?", {"a", "ab", "aab"}, {"b", "abb"}},
      {"(ab|c)*d", {"d", "abd", "cabcd"}, {"abc", "ad"}},
      {"(?:x|y){2}", {"xy", "yy"}, {"x", "xyx"}},
      {"a{2,}", {"aa", "aaaaa"}, {"a"}},
      {"a{0,2}b", {"b", "ab", "aab"}, {"aaab"}},
      {"a{0}b", {"b"}, {"ab"}},
      {"(a{2}b){2,3}", {"aabaab", "aabaabaab"}, {"aab", "abab"}},
      {"((a+)+)+", {"a", "aaaa"}, {""}},
      {"[a-cx-]+", {"a-x", "b"}, {"d", "w"}},
      {"[^a-y]", {"z", " ", "\xc3\xa9"}, {"a", "", "\n", "zz", "\xc3"}},
      {".", {"x", "\xe2\x82\xac", "\xf0\x9f\x98\x80"}, {"\n", "\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}},
      {"\\d\\w\\s", {"5_ ", "0z\t"}, {"a__", "5_x"}},
      {"\\D\\W\\S", {"a-b"}, {"1-b", "aab"}},
      {"\\.\\\\\\/\\-", {".\\/-"}, {"a"}},
      {"\\x41\\u00e9\\n", {"A\xc3\xa9\n"}, {"A"}},
      {"[\\d.]+", {"1.5"}, {"a"}},
      {"[\\u0400-\\u04ff]{2}", {"\xd0\x96\xd1\x8f"}, {"ab"}},
      {"^a$|^b$", {"a", "b"}, {"ab"}},
      {"a|", {"a", ""}, {"b"}},
      {"a+?b*?", {"a", "aab"}, {"b"}},
      {"", {""}, {"a"}},
      {"]", {"]"}, {""}},
  };
  for (const Case& each : cases) {
    const auto dfa = Compile(each.pattern);
    ASSERT_TRUE(dfa.ok()) << each.pattern << ": " << dfa.status();
    for (const char* text : each.taken) EXPECT_TRUE(dfa->Accepts(text)) << each.pattern << " should take " << text;
    for (const char* text : each.refused) EXPECT_FALSE(dfa->Accepts(text)) << each.pattern << " should refuse " << text;
  }
}

TEST(Regex, SearchesWhereAnchorsAreMissing) {
  const auto dfa = Compile("^a|b$|c", RegexScope::kSearch);
  ASSERT_TRUE(dfa.ok());
  for (const char* text : {"a", "ax", "b", "xb", "xcx"}) EXPECT_TRUE(dfa->Accepts(text)) << text;
  for (const char* text : {"xa", "bx", "", "x"}) EXPECT_FALSE(dfa->Accepts(text)) << text;
}

TEST(Regex, NamesWhatItRefuses) {
  const std::pair<const char*, const char*> cases[] = {
      {"(?=a)", "lookaround"}, {"(?<n>a)", "named group"},
      {"(a)\\1", "\\1"},       {"\\ba", "\\b"},
      {"\\p{L}", "\\p"},       {"a^b", "^"},
      {"(a$)", "$"},           {"a$b", "$"},
      {"a**", "repetition"},   {"*a", "*"},
      {"(a", "without its"},   {"a)", ")"},
      {"[a", "without its"},   {"[z-a]", "range"},
      {"a{2,1}", "count"},     {"a{x}", "{"},
      {"\\", "backslash"},     {"\\u12", "\\u"},
  };
  for (const auto& [pattern, message] : cases) {
    const auto dfa = Compile(pattern);
    EXPECT_FALSE(dfa.ok()) << pattern;
    EXPECT_NE(dfa.status().message().find(message), absl::string_view::npos) << pattern << ": " << dfa.status();
  }
}

TEST(Regex, NestedRepetitionsDoNotMultiply) {
  std::string pattern = "a";
  for (int i = 0; i < 50; ++i) pattern = "(" + pattern + ")*";
  EXPECT_TRUE(Compile(pattern).ok());
  for (int i = 0; i < 50; ++i) pattern = "(" + pattern + ")*";
  EXPECT_FALSE(Compile(pattern).ok());
}

}  // namespace
}  // namespace switchyard
