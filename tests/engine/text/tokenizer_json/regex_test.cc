#include "engine/text/tokenizer_json/regex.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "engine/text/tokenizer_json/regex_syntax.h"

namespace switchyard::tokenizer_json {
namespace {

// The matches of `pattern` in `text`, in brackets: "[a]b[]".
std::string Show(const std::string& pattern, const std::string& text) {
  const auto regex = Regex::Compile(pattern);
  if (!regex.ok()) return regex.status().ToString();
  std::vector<Match> matches;
  regex->FindAll(text, &matches);
  std::string out;
  size_t begin = 0;
  for (const Match& match : matches) {
    out += text.substr(begin, match.begin - begin) + "[" + text.substr(match.begin, match.end - match.begin) + "]";
    begin = match.end;
  }
  return out + text.substr(begin);
}

// Checked with Oniguruma, by way of Hugging Face's Split.
TEST(Regex, FindsWhatOnigurumaFinds) {
  EXPECT_EQ(Show("x*", "axb"), "[]a[x]b[]");
  EXPECT_EQ(Show("", "ab"), "[]a[]b[]");
  EXPECT_EQ(Show("(?<=[a-z])(?=[A-Z])", "camelCaseX"), "camel[]Case[]X");
  EXPECT_EQ(Show("^a|b$", "a\nab\nb"), "[a]\n[a][b]\n[b]");
  EXPECT_EQ(Show("(?m:a.b)|c.d", "a\nb c\nd"), "[a\nb] c\nd");
  EXPECT_EQ(Show("a{,2}b", "aaab"), "a[aab]");
  EXPECT_EQ(Show("[a[bc]]+", "xabcx"), "x[abc]x");
  EXPECT_EQ(Show("(?i:'s|'LL)", "'S'ſ'll"), "['S]['ſ]['ll]");
  EXPECT_EQ(Show("\\h+\\v?", "xyzbad\v"), "xyz[bad\v]");
}

TEST(Regex, PropertiesAreThoseOfUnicode16) {
  EXPECT_EQ(Show("\\p{L}", "a1\u1c89\U00031350\U0002ebf0"), "[a]1[\u1c89][\U00031350][\U0002ebf0]");
  EXPECT_EQ(Show("[^\\p{L}\\s]", "a1\U00031350 "), "a[1]\U00031350 ");
  EXPECT_EQ(Show("\\p{N}\\d", "²3\U00010d40\U00010d41"), "[²3][\U00010d40\U00010d41]");
  EXPECT_EQ(Show("\\s", "\u180e\u0085\u200b\u3000"), "\u180e[\u0085]\u200b[\u3000]");
  EXPECT_EQ(Show("\\w\\b", "a\u0301 ²"), "a[\u0301] [²]");
  EXPECT_EQ(Show("\\P{L}\\p{^L}", "a12b"), "a[12]b");
}

TEST(Regex, RefusesByNameWhatItCannotTranslate) {
  for (const char* pattern : {"(*UTF8)a",
                              "(*LIMIT_MATCH=1)a",
                              "a\\Kb",
                              "\\X",
                              "\\g<1>",
                              "(a)\\1",
                              "\\k<a>",
                              "(?<a>b)",
                              "(?P<a>b)",
                              "(?~a)",
                              "(?{1})",
                              "(?s)a",
                              "[a&&b]",
                              "[[:alpha:]]",
                              "[a[^b]]",
                              "[\\W_]",
                              "\\p{Cyrillic}",
                              "\\pL",
                              "\\p{L",
                              "\\xFF",
                              "\\x{1234567}",
                              "a{1,2}+",
                              "a\\",
                              "[]a]",
                              "[a",
                              "\\C",
                              "\\R",
                              "\\G"}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_TRUE(absl::IsUnimplemented(regex.status())) << pattern << " " << regex.status();
    EXPECT_NE(regex.status().message().find("at byte"), std::string::npos) << regex.status();
  }
  for (const char* pattern : {"a)", "(a", "*a", "[b-a]", "(?<=a+)b", "\\x{D800}", "a{70000}"}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_TRUE(absl::IsInvalidArgument(regex.status())) << pattern << " " << regex.status();
  }
  EXPECT_FALSE(Regex::Compile(std::string(100000, 'a')).ok());
  EXPECT_FALSE(Regex::Compile(std::string(1000, '(') + std::string(1000, ')')).ok());
}

// Long stretches, whose matches reach over many windows of the search.
TEST(Regex, MatchesOfAnyLengthAreWhole) {
  for (const size_t size : {1000, 1023, 1024, 1025, 5000, 300000}) {
    const std::string spaces(size, ' ');
    EXPECT_EQ(Show("\\s+(?!\\S)|\\s+", "a" + spaces + "b"), "a[" + spaces.substr(1) + "][ ]b");
    EXPECT_EQ(Show("\\s*[\\r\\n]+|\\s+", spaces + "\n" + spaces), "[" + spaces + "\n][" + spaces + "]");
    EXPECT_EQ(Show("\\s+$", "a" + spaces), "a[" + spaces + "]");
    const std::string letters(size, 'x');
    EXPECT_EQ(Show("(?:x)+\\b", letters + " " + letters), "[" + letters + "] [" + letters + "]");
    EXPECT_EQ(Show("(?<=" + std::string(100, 'x') + ")y", letters + "y" + letters), letters + "[y]" + letters);
  }
}

TEST(Regex, CatastrophesEnd) {
  const std::clock_t begin = std::clock();
  EXPECT_NE(Show("(x+x+)+y", std::string(100000, 'x')), "");
  EXPECT_NE(Show("(?:x|x)*y", std::string(5000, 'x')), "");
  // Quadratic, in a pattern that a published tokenizer has.
  EXPECT_NE(Show("\\s+$", std::string(1 << 20, ' ') + "a"), "");
  EXPECT_NE(Show("x*y|z", std::string(1 << 20, 'x')), "");
  EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 20);  // seconds of CPU
}

}  // namespace
}  // namespace switchyard::tokenizer_json
