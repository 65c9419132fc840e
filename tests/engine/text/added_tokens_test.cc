#include "engine/text/added_tokens.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace switchyard {
namespace {

// "a|<x>|b" with the tokens in brackets: [<x>].
std::string Show(const AddedTokens& tokens, const std::string& text) {
  std::string out;
  for (const AddedTokens::Segment& segment : tokens.Split(text)) {
    if (!out.empty()) out += '|';
    out += segment.token != nullptr ? "[" + segment.text + "]" : segment.text;
  }
  return out;
}

TEST(AddedTokens, SplitAtTheLeftmostAndLongest) {
  const AddedTokens tokens({{.id = 1, .content = "<x>"}, {.id = 2, .content = "<x><y>"}, {.id = 3, .content = "x>"}});
  EXPECT_EQ(Show(tokens, "a<x>b"), "a|[<x>]|b");
  EXPECT_EQ(Show(tokens, "<x><y><x>"), "[<x><y>]|[<x>]");
  EXPECT_EQ(Show(tokens, "<<x>"), "<|[<x>]");
  EXPECT_EQ(Show(tokens, "x><x"), "[x>]|<x");
  EXPECT_EQ(Show(tokens, ""), "");
}

TEST(AddedTokens, EatTheWhiteSpaceBesideThem) {
  const AddedTokens tokens({{.id = 1, .content = "<l>", .lstrip = true}, {.id = 2, .content = "<r>", .rstrip = true}});
  EXPECT_EQ(Show(tokens, "a \n<l> b"), "a|[<l>]| b");
  EXPECT_EQ(Show(tokens, "a <r>\u3000 b"), "a |[<r>]|b");
  EXPECT_EQ(Show(tokens, " <l> "), "[<l>]| ");
  EXPECT_EQ(Show(tokens, "<r> "), "[<r>]");
}

TEST(AddedTokens, SingleWordsCountOnlyBesideSpaces) {
  const AddedTokens tokens({{.id = 1, .content = "cat", .single_word = true}});
  EXPECT_EQ(Show(tokens, "a cat b"), "a |[cat]| b");
  EXPECT_EQ(Show(tokens, "cat"), "[cat]");
  EXPECT_EQ(Show(tokens, "concat b"), "concat| b");
  EXPECT_EQ(Show(tokens, "cats"), "cats");
}

}  // namespace
}  // namespace switchyard
