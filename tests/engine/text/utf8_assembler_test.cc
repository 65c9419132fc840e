#include "engine/text/utf8_assembler.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace switchyard {
namespace {

const std::string kBad = "\xEF\xBF\xBD";

TEST(Utf8Assembler, HoldsACharacterUntilItsLastByte) {
  Utf8Assembler assembler;
  std::string out;
  assembler.Append("\xF0\x9F", &out);
  assembler.Append("\x99", &out);
  EXPECT_EQ(out, "");
  assembler.Append("\x82!", &out);
  EXPECT_EQ(out, "\xF0\x9F\x99\x82!");
}

TEST(Utf8Assembler, ReplacesEachByteThatIsPartOfNoCharacter) {
  EXPECT_EQ(ToValidUtf8("\x80"), kBad);
  EXPECT_EQ(ToValidUtf8("\xFF\xFE"), kBad + kBad);
  EXPECT_EQ(ToValidUtf8("\xC0\xAF"), kBad + kBad);                        // overlong
  EXPECT_EQ(ToValidUtf8("\xE0\x80\x80"), kBad + kBad + kBad);             // overlong
  EXPECT_EQ(ToValidUtf8("\xED\xA0\x80"), kBad + kBad + kBad);             // surrogate
  EXPECT_EQ(ToValidUtf8("\xF4\x90\x80\x80"), kBad + kBad + kBad + kBad);  // above U+10FFFF
  EXPECT_EQ(ToValidUtf8("\xE2\x82"), kBad + kBad);                        // ends early
  EXPECT_EQ(ToValidUtf8("\xE2\x82x"), kBad + kBad + "x");                 // broken off
  EXPECT_EQ(ToValidUtf8("\xE2\xE2\x82\xAC"), kBad + "\xE2\x82\xAC");      // a new start
  EXPECT_EQ(ToValidUtf8("\xF4\x8F\xBF\xBF\xEF\xBF\xBF"), "\xF4\x8F\xBF\xBF\xEF\xBF\xBF");
  EXPECT_EQ(ToValidUtf8(std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST(Utf8Assembler, DropsOneLeadingSpaceOnDemand) {
  std::string out;
  Utf8Assembler assembler(/*drop_leading_space=*/true);
  assembler.Append("", &out);
  assembler.Append(" ", &out);
  assembler.Append(" a", &out);
  EXPECT_EQ(out, " a");
}

TEST(Utf8Assembler, ResultDoesNotDependOnTheDivision) {
  std::mt19937 rng(7);
  const std::string alphabet("a \xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82\xFF\xED\xA0\x80\x80", 17);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string bytes;
    for (int n = rng() % 20; n > 0; --n) bytes.push_back(alphabet[rng() % alphabet.size()]);
    Utf8Assembler assembler;
    std::string out;
    for (size_t i = 0; i < bytes.size();) {
      const size_t size = 1 + rng() % 4;
      std::string piece;
      assembler.Append(bytes.substr(i, size), &piece);
      EXPECT_EQ(ToValidUtf8(piece), piece);
      out += piece;
      i += size;
    }
    assembler.Finish(&out);
    EXPECT_EQ(out, ToValidUtf8(bytes));
  }
}

TEST(Utf8Assembler, ReplacesEachBeginningOnDemand) {
  std::string out;
  Utf8Assembler assembler(/*drop_leading_space=*/false, /*replace_each_byte=*/false);
  assembler.Append("a\xE2\x82z\xF0\x9F\x99\xED\xA0\x80\xFF\xE2", &out);
  assembler.Finish(&out);
  EXPECT_EQ(out, "a\uFFFDz\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");  // as Python's errors="replace"
}

}  // namespace
}  // namespace switchyard
