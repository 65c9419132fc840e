// Random weights made on the device, against the host's Philox and double precision.
#include "kernels/cuda/fill.h"

#include <numbers>

#include "kernels/cpu/philox.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

class FillRandomTest : public HalfTest {
 protected:
  std::vector<uint16_t> Fill(int64_t count, uint64_t seed, float deviation) {
    // A guard behind the end.
    DeviceVector<uint16_t> data(std::vector<uint16_t>(static_cast<size_t>(count) + 1, kGuard));
    FillRandom(GetParam(), data.data(), count, seed, deviation, TestStream());
    std::vector<uint16_t> values = data.ToHost();
    EXPECT_EQ(values.back(), kGuard);
    values.pop_back();
    return values;
  }

  static constexpr uint16_t kGuard = 0xABCD;
};
INSTANTIATE_TEST_SUITE_P(Types, FillRandomTest, HalfTypes(), HalfTypeName);

// Box and Muller's transform of words 2 * pair and 2 * pair + 1 of the seed's block.
double ExpectedNormal(uint64_t seed, uint64_t i) {
  const uint64_t block = i / 4;
  const PhiloxCounter words = Philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0},
                                         {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t pair = i % 4 / 2;
  const double radius = std::sqrt(-2.0 * std::log((words[2 * pair] + 0.5) * 0x1p-32));
  const double angle = 2.0 * std::numbers::pi * words[2 * pair + 1] * 0x1p-32;
  return radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

TEST_P(FillRandomTest, WritesTheNormalNumbersOfTheSeed) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{0x123456789ABCDEF}}) {
    for (const int64_t count : {0, 1, 3, 7, 8, 9, 2047, 2048, 5003}) {
      const std::vector<uint16_t> values = Fill(count, seed, 0.25f);
      for (int64_t i = 0; i < count; ++i) {
        const double expected = 0.25 * ExpectedNormal(seed, static_cast<uint64_t>(i));
        // The radius is at most 6.8; near its zero, the logarithm of a float next to 1 is off by 2^-24 of 1, which
        // the root magnifies to 2^-12.
        ASSERT_NEAR(FloatFromHalf(GetParam(), values[i]), expected, HalfRounding(GetParam(), expected) * 1.01 + 1.5e-4)
            << "element " << i << " of " << count;
      }
    }
  }
}

TEST_P(FillRandomTest, GivesAnElementTheSameNumberWhateverTheSize) {
  const std::vector<uint16_t> all = Fill(6000, 11, 1.0f);
  for (const size_t count : {size_t{5}, size_t{2049}, size_t{4096}}) {
    EXPECT_EQ(Fill(static_cast<int64_t>(count), 11, 1.0f), std::vector<uint16_t>(all.begin(), all.begin() + count));
  }
  EXPECT_NE(Fill(6000, 12, 1.0f), all);
}

TEST_P(FillRandomTest, HasTheMomentsOfANormalDistribution) {
  constexpr int64_t kCount = 200'000;
  const std::vector<uint16_t> values = Fill(kCount, 5, 2.0f);
  double mean = 0;
  double square = 0;
  double fourth = 0;
  double neighbours = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double value = FloatFromHalf(GetParam(), values[i]) / 2.0;
    mean += value / kCount;
    square += value * value / kCount;
    fourth += value * value * value * value / kCount;
    if (i > 0) neighbours += value * FloatFromHalf(GetParam(), values[i - 1]) / 2.0 / kCount;
  }
  // Five standard errors: 1 / sqrt(n), sqrt(2 / n), sqrt(96 / n).
  const double error = 5 / std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(mean, 0, error);
  EXPECT_NEAR(square, 1, error * std::sqrt(2.0));
  EXPECT_NEAR(fourth, 3, error * std::sqrt(96.0));
  EXPECT_NEAR(neighbours, 0, error);
}

}  // namespace
}  // namespace switchyard::cuda
