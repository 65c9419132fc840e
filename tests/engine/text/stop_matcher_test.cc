#include "engine/text/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace switchyard {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> matched;
};

Outcome Feed(StopMatcher matcher, const std::vector<std::string>& pieces) {
  Outcome outcome;
  for (const std::string& piece : pieces) {
    StopMatcher::Result result = matcher.Append(piece);
    outcome.text += result.text;
    outcome.matched = result.matched;
  }
  outcome.text += matcher.Finish();
  return outcome;
}

// By the definition: the match that ends first, the longest of those.
Outcome Search(const std::string& text, const std::vector<std::string>& stops, bool include_stop) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::string> best;
    for (const std::string& stop : stops) {
      const bool ends_here =
          !stop.empty() && stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (ends_here && (!best || stop.size() > best->size())) best = stop;
    }
    if (best) return {.text = text.substr(0, include_stop ? end : end - best->size()), .matched = best};
  }
  return {.text = text, .matched = std::nullopt};
}

TEST(StopMatcher, PassesTextThroughWithoutStops) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Append("abc").text, "abc");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, HoldsOnlyTheTailThatCanBeginAStop) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.Append("the E").text, "the ");
  EXPECT_EQ(matcher.Append("N").text, "");
  EXPECT_EQ(matcher.Append("T").text, "ENT");
  EXPECT_EQ(matcher.Append("EN").text, "");
  EXPECT_EQ(matcher.Finish(), "EN");
}

TEST(StopMatcher, FindsAStopAcrossManyPieces) {
  const Outcome outcome = Feed(StopMatcher({"</answer>"}), {"42<", "/", "ans", "w", "er", ">", "never"});
  EXPECT_EQ(outcome.text, "42");
  EXPECT_EQ(outcome.matched, "</answer>");
}

TEST(StopMatcher, IncludesTheStopOnDemandAndNothingBehindIt) {
  const Outcome outcome = Feed(StopMatcher({"\n\n"}, /*include_stop=*/true), {"a\n", "\nb"});
  EXPECT_EQ(outcome.text, "a\n\n");
}

TEST(StopMatcher, EarliestEndWinsAndThenTheLongest) {
  EXPECT_EQ(Feed(StopMatcher({"abcd", "bc"}), {"xabcd"}).matched, "bc");
  EXPECT_EQ(Feed(StopMatcher({"abcd", "bc"}), {"xabcd"}).text, "xa");
  EXPECT_EQ(Feed(StopMatcher({"c", "bc", "abc"}), {"xa", "bc"}).matched, "abc");
  EXPECT_EQ(Feed(StopMatcher({"ab", "abc"}), {"abc"}).matched, "ab");
}

TEST(StopMatcher, FallsBackToAShorterPrefixAfterAFalseStart) {
  EXPECT_EQ(Feed(StopMatcher({"aab"}), {"aa", "a", "a", "b"}).text, "aa");
  EXPECT_EQ(Feed(StopMatcher({"abab!"}), {"ababab!"}).text, "ab");
}

TEST(StopMatcher, RepeatsTheMatchAndGivesNoMoreText) {
  StopMatcher matcher({"x"});
  matcher.Append("ax");
  const StopMatcher::Result after = matcher.Append("more");
  EXPECT_EQ(after.text, "");
  EXPECT_EQ(after.matched, "x");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, IgnoresEmptyStops) { EXPECT_EQ(Feed(StopMatcher({"", "z"}), {"abc"}).text, "abc"); }

TEST(StopMatcher, AgreesWithASearchOfTheWholeText) {
  std::mt19937 rng(11);
  const auto random_text = [&rng](size_t max_size) {
    std::string text;
    for (size_t n = rng() % (max_size + 1); n > 0; --n) text.push_back("aab"[rng() % 3]);
    return text;
  };
  int num_matched = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<std::string> stops;
    for (int n = rng() % 4; n > 0; --n) stops.push_back(random_text(6));
    const std::string text = random_text(24);
    std::vector<std::string> pieces;
    for (size_t i = 0; i < text.size(); i += pieces.back().size()) pieces.push_back(text.substr(i, 1 + rng() % 4));
    const bool include_stop = rng() % 2 == 0;
    const Outcome expected = Search(text, stops, include_stop);
    const Outcome actual = Feed(StopMatcher(stops, include_stop), pieces);
    ASSERT_EQ(actual.text, expected.text) << text;
    ASSERT_EQ(actual.matched, expected.matched) << text;
    num_matched += expected.matched.has_value();
  }
  EXPECT_GT(num_matched, 1000);
}

TEST(StopMatcher, NeverLeaksAPrefixOfTheStopThatEndsTheText) {
  std::mt19937 rng(13);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string stop;
    for (int n = 1 + rng() % 5; n > 0; --n) stop.push_back("ab"[rng() % 2]);
    std::string text;
    for (int n = rng() % 12; n > 0; --n) text.push_back("ab"[rng() % 2]);
    text += stop;
    const std::string expected = text.substr(0, text.find(stop));
    StopMatcher matcher({stop});
    std::string sent;
    for (const char c : text) {
      sent += matcher.Append(std::string(1, c)).text;
      ASSERT_LE(sent.size(), expected.size()) << text << " stops at " << stop;
    }
    EXPECT_EQ(sent, expected);
  }
}

}  // namespace
}  // namespace switchyard
