// The 8-bit float of the KV cache, and the choice of a row's scale.
#include "kernels/float8.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "kernels/kv_scale.h"

namespace switchyard {
namespace {

// By the format's definition; finite codes only.
double ValueOf(int code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

uint8_t CodeOf(float value) { return Float8E4M3FromFloat(value).bits; }

TEST(Float8E4M3, EveryCodeIsReadAndWrittenExactly) {
  for (int code = 0; code < 256; ++code) {
    const float value = FloatFromFloat8E4M3({static_cast<uint8_t>(code)});
    EXPECT_EQ(std::signbit(value), code >= 0x80);
    EXPECT_EQ(CodeOf(value), code);
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(value, ValueOf(code));
    }
  }
}

TEST(Float8E4M3, RoundsToTheNearestAndTiesToEven) {
  for (int code = 0; code < 0x7E; ++code) {
    const auto middle = static_cast<float>((ValueOf(code) + ValueOf(code + 1)) / 2);
    const int even = code % 2 == 0 ? code : code + 1;
    for (const int sign : {0, 0x80}) {
      const float direction = sign == 0 ? 1.0f : -1.0f;
      EXPECT_EQ(CodeOf(direction * middle), sign | even) << middle;
      EXPECT_EQ(CodeOf(direction * std::nextafter(middle, 0.0f)), sign | code) << middle;
      EXPECT_EQ(CodeOf(direction * std::nextafter(middle, 1000.0f)), sign | (code + 1)) << middle;
    }
  }
}

TEST(Float8E4M3, SaturatesAndKeepsNan) {
  for (const float value : {448.0f, 464.0f, 465.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(CodeOf(value), 0x7E);
    EXPECT_EQ(CodeOf(-value), 0xFE);
  }
  EXPECT_EQ(CodeOf(1e-40f), 0);
  EXPECT_EQ(CodeOf(-0.0f), 0x80);
  EXPECT_TRUE(std::isnan(FloatFromFloat8E4M3(Float8E4M3FromFloat(std::numeric_limits<float>::quiet_NaN()))));
}

KvScale ScaleOf(float largest) { return KvScaleOf(std::bit_cast<uint32_t>(largest), 448.0f); }

TEST(KvScale, MapsTheLargestMagnitudeToTheLargestElement) {
  for (const float largest : {448.0f, 1.0f, 0.3f, 6e4f, 3.4e38f, 1e-35f}) {
    const KvScale scale = ScaleOf(largest);
    EXPECT_EQ(scale.scale, largest / 448.0f);
    EXPECT_NEAR(largest * scale.inverse, 448.0f, 1e-4f);
  }
}

TEST(KvScale, IsZeroForRowsThatAreNextToNothingAndNanForThoseThatAreNoNumbers) {
  for (const float largest : {0.0f, 1e-45f, 1e-38f, 5e-36f}) {
    EXPECT_EQ(ScaleOf(largest).scale, 0.0f) << largest;
    EXPECT_EQ(ScaleOf(largest).inverse, 0.0f) << largest;
  }
  for (const float largest : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_TRUE(std::isnan(ScaleOf(largest).scale));
    EXPECT_EQ(ScaleOf(largest).inverse, 0.0f);
  }
}

}  // namespace
}  // namespace switchyard
