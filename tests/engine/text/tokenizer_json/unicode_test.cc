#include "engine/text/tokenizer_json/unicode.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>

namespace switchyard::tokenizer_json {
namespace {

std::string Lowercase(char32_t code) {
  std::string out;
  AppendLowercase(code, &out);
  return out;
}

TEST(Unicode, ReadsCharactersForwardsAndBackwards) {
  const std::string text = "aé東🙂";
  std::u32string forwards;
  for (size_t i = 0; i < text.size(); i += CharacterAt(text, i).size) forwards += CharacterAt(text, i).code;
  EXPECT_EQ(forwards, U"aé東🙂");
  size_t end = text.size();
  std::string out;
  while (end > 0) {
    const Character last = CharacterBefore(text, end);
    AppendCharacter(last.code, &out);
    end -= last.size;
  }
  EXPECT_EQ(out, "🙂東éa");
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(ToNormalForm("e\u0301 \u1100\u1161\u11a8 Å", NormalForm::kNfc), "é 각 Å");
  EXPECT_EQ(ToNormalForm("é 각 \u212b", NormalForm::kNfd), "e\u0301 \u1100\u1161\u11a8 A\u030a");
  EXPECT_EQ(ToNormalForm("ﬁ ² ①", NormalForm::kNfkc), "fi 2 1");
  EXPECT_EQ(ToNormalForm("ﬁ é", NormalForm::kNfkd), "fi e\u0301");
  EXPECT_EQ(ToNormalForm("a\u0323\u0301", NormalForm::kNfc), "ạ\u0301");
  EXPECT_EQ(ToNormalForm("a\u0301\u0323", NormalForm::kNfd), "a\u0323\u0301");
  EXPECT_EQ(ToNormalForm("\u0344\ufb4e", NormalForm::kNfc), "\u0308\u0301\u05e4\u05bf");
}

// Hugging Face's tables do not know them.
TEST(Unicode, CharactersSinceUnicode11StayInTheNormalForms) {
  EXPECT_EQ(ToNormalForm("\u32ff", NormalForm::kNfkc), "\u32ff");
  EXPECT_EQ(ToNormalForm("\U00011938", NormalForm::kNfd), "\U00011938");
  EXPECT_EQ(ToNormalForm("\U00011935\U00011930", NormalForm::kNfc), "\U00011935\U00011930");
  EXPECT_EQ(ToNormalForm("a\u0301\u1abf\u0334", NormalForm::kNfd), "a\u0301\u1abf\u0334");
}

TEST(Unicode, ManyMarksAreSortedInTime) {
  std::string marks = "a";
  for (int i = 0; i < 300000; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";
  const std::clock_t begin = std::clock();
  EXPECT_EQ(ToNormalForm(marks, NormalForm::kNfd).size(), marks.size());
  EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 10);  // seconds of CPU
}

TEST(Unicode, Lowercases) {
  EXPECT_EQ(Lowercase('A'), "a");
  EXPECT_EQ(Lowercase(0x130), "i\u0307");
  EXPECT_EQ(Lowercase(0x3A3), "σ");
  EXPECT_EQ(Lowercase(0x10D50), "\U00010d70");
  EXPECT_EQ(Lowercase(U'東'), "東");
}

TEST(Unicode, KindsOfCharacters) {
  EXPECT_TRUE(IsWhiteSpace(0x85) && IsWhiteSpace(0x3000) && !IsWhiteSpace(0x200B) && !IsWhiteSpace(0x180E));
  EXPECT_TRUE(IsNumeric(0xB2) && IsNumeric(0x2167) && IsNumeric(0x10D40) && !IsNumeric('a'));
  EXPECT_TRUE(IsPunctuation('$') && IsPunctuation(0x3001) && !IsPunctuation(0x20AC));
  EXPECT_TRUE(IsWord('_') && IsWord(0x301) && IsWord(0x200D) && IsWord(0x24B6) && !IsWord(0xB2) && !IsWord('-'));
  EXPECT_TRUE(IsMark(0x301) && !IsMark('a'));
}

}  // namespace
}  // namespace switchyard::tokenizer_json
