// Philox and the conversions of 16-bit formats.
#include <cmath>
#include <set>

#include "gtest/gtest.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/philox.h"

namespace switchyard {
namespace {

// The vectors that accompany Random123.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformDraw, DiffersBySeedAndDrawAndStaysBelowOne) {
  std::set<double> seen;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
    for (const uint64_t draw : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
      const double value = UniformDraw(seed, draw);
      EXPECT_TRUE(value >= 0 && value < 1);
      EXPECT_EQ(value, UniformDraw(seed, draw));
      seen.insert(value);
    }
  }
  EXPECT_EQ(seen.size(), 9u);
}

TEST(FloatConvert, ReadsFloat16) {
  EXPECT_EQ(FloatFromFloat16(0x0000), 0.0f);
  EXPECT_TRUE(std::signbit(FloatFromFloat16(0x8000)));
  EXPECT_EQ(FloatFromFloat16(0x3C00), 1.0f);
  EXPECT_EQ(FloatFromFloat16(0xC000), -2.0f);
  EXPECT_EQ(FloatFromFloat16(0x7BFF), 65504.0f);
  EXPECT_EQ(FloatFromFloat16(0x0400), 0x1p-14f);
  EXPECT_EQ(FloatFromFloat16(0x0001), 0x1p-24f);
  EXPECT_EQ(FloatFromFloat16(0x83FF), -1023 * 0x1p-24f);
  EXPECT_EQ(FloatFromFloat16(0xFC00), -INFINITY);
  EXPECT_TRUE(std::isnan(FloatFromFloat16(0x7E00)));
}

TEST(FloatConvert, RoundsToBFloat16NearestEven) {
  EXPECT_EQ(BFloat16FromFloat(1.0f), 0x3F80);
  EXPECT_EQ(BFloat16FromFloat(1.0f + 0x1p-8f), 0x3F80) << "a tie goes to the even neighbour";
  EXPECT_EQ(BFloat16FromFloat(1.0f + 3 * 0x1p-8f), 0x3F82);
  EXPECT_EQ(BFloat16FromFloat(-3.0e38f), 0xFF62);
  EXPECT_TRUE(std::isnan(FloatFromBFloat16(BFloat16FromFloat(NAN))));
  for (uint32_t bits = 0; bits < 0x7F80; bits += 7) {
    EXPECT_EQ(BFloat16FromFloat(FloatFromBFloat16(static_cast<uint16_t>(bits))), bits);
  }
}

}  // namespace
}  // namespace switchyard
