#include "kernels/quantization/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "kernels/cpu/float_convert.h"
#include "tests/kernels/quantization/quantization_test_util.h"

namespace switchyard {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

const char* const kRecipes[] = {"nf4",           "int4", "int4-g64", "int4-asym",
                                "int4-g64-asym", "int8", "int8-g64", "int8-g128"};

double RoundToFloat16(double value) { return FloatFromFloat16(Float16FromFloat(static_cast<float>(value))); }

// Round to nearest as GPTQ's quantiser states it, with scales rounded to float16, in double precision.
struct ReferenceGroup {
  double scale = 0;
  int zero = 0;
  std::vector<int> codes;
};

ReferenceGroup QuantizeGroup(const Quantization& quantization, std::span<const float> group, double magnitude) {
  const int largest = (1 << quantization.bits()) - 1;
  const double low = std::min(0.0f, *std::min_element(group.begin(), group.end()));
  const double high = std::max(0.0f, *std::max_element(group.begin(), group.end()));
  ReferenceGroup reference;
  reference.zero = quantization.default_zero();
  reference.scale = RoundToFloat16((quantization.has_zeros ? high - low : 2 * magnitude) / largest);
  if (quantization.has_zeros) {
    reference.zero = std::min(static_cast<int>(std::nearbyint(-low / reference.scale)), largest);
  }
  for (const float w : group) {
    const int code = static_cast<int>(std::nearbyint(w / reference.scale)) + reference.zero;
    reference.codes.push_back(std::clamp(code, 0, largest));
  }
  return reference;
}

class IntegerFormatTest : public testing::TestWithParam<const char*> {
 protected:
  const QuantizationRecipe recipe_ = Recipe(GetParam());
  const Quantization quantization_ = recipe_.stored;

  // Calls check(row, group, first column, columns of the group).
  template <typename Check>
  void ForEachGroup(const QuantizedTensor& tensor, const Check& check) const {
    for (int64_t row = 0; row < tensor.rows; ++row) {
      for (int64_t g = 0; g < tensor.scales.groups; ++g) {
        const int64_t begin = g * quantization_.group_size;
        check(row, g, begin, std::min(quantization_.group_size, tensor.columns - begin));
      }
    }
  }

  double Magnitude(std::span<const float> values) const {
    double magnitude = 0;
    for (const float value : values) magnitude = std::max(magnitude, std::abs(double{value}));
    return magnitude;
  }
};

// Widths with a short last group, an odd one, and one shorter than a vector among them.
constexpr int64_t kWidths[] = {1, 7, 64, 65, 100, 128, 193, 576};
constexpr int64_t kRows = 5;

TEST_P(IntegerFormatTest, RoundsToNearestWithFloat16Scales) {
  ForEachVectorTarget([&] {
    for (const int64_t columns : kWidths) {
      SCOPED_TRACE(columns);
      const std::vector<float> values = Normal(static_cast<size_t>(kRows * columns), 0.05f);
      const QuantizedTensor tensor = MustQuantize(GetParam(), values, columns);
      ForEachGroup(tensor, [&](int64_t row, int64_t g, int64_t begin, int64_t count) {
        const auto row_values = std::span<const float>(values).subspan(row * columns, columns);
        const auto group = row_values.subspan(begin, count);
        const ReferenceGroup expected =
            QuantizeGroup(quantization_, group, Magnitude(recipe_.per_channel ? row_values : group));
        const auto index = static_cast<size_t>(row * tensor.scales.groups + g);
        ASSERT_EQ(tensor.scales.values[index], expected.scale);
        if (quantization_.has_zeros) {
          ASSERT_EQ(tensor.scales.zeros[index], expected.zero);
        }
        for (int64_t c = 0; c < count; ++c) {
          ASSERT_EQ(CodeAt(tensor, row, begin + c), expected.codes[static_cast<size_t>(c)]) << begin + c;
        }
      });
    }
  });
}

TEST_P(IntegerFormatTest, ErrsByHalfAScaleAtMost) {
  for (const float deviation : {1e-3f, 0.05f, 100.0f}) {
    const int64_t columns = 320;
    const std::vector<float> values = Normal(static_cast<size_t>(kRows * columns), deviation);
    const QuantizedTensor tensor = MustQuantize(GetParam(), values, columns);
    const std::vector<float> restored = Dequantize(tensor);
    ForEachGroup(tensor, [&](int64_t row, int64_t g, int64_t begin, int64_t count) {
      const double scale = tensor.scales.values[static_cast<size_t>(row * tensor.scales.groups + g)];
      // The outermost weights lie beyond the levels by what rounding took from the scale.
      const double rounding = std::max(scale * 0x1p-11, 0x1p-25) * (1 << quantization_.bits());
      const double tolerance = scale / 2 + (quantization_.has_zeros ? rounding : rounding / 2);
      for (int64_t c = begin; c < begin + count; ++c) {
        const auto i = static_cast<size_t>(row * columns + c);
        ASSERT_NEAR(restored[i], values[i], tolerance);
      }
    });
  }
}

TEST_P(IntegerFormatTest, WeightsTooSmallForAFloat16GetTheLeastScale) {
  const std::vector<float> values = Normal(256, 1e-12f);
  const QuantizedTensor tensor = MustQuantize(GetParam(), values, 128);
  EXPECT_THAT(tensor.scales.values, Each(0x1p-24f));
  for (const float value : Dequantize(tensor)) EXPECT_EQ(value, 0.0f);
  // Scales that lost most of their bits: the ends are cut, nothing overflows.
  const std::vector<float> small = Normal(256, 2e-7f);
  const std::vector<float> restored = Dequantize(MustQuantize(GetParam(), small, 128));
  for (size_t i = 0; i < small.size(); ++i) EXPECT_NEAR(restored[i], small[i], 5e-7) << i;
}

TEST_P(IntegerFormatTest, RefusesWeightsTooLargeForAFloat16Scale) {
  for (const float large : {1e8f, 3e38f}) {
    std::vector<float> values = Normal(256);
    values[200] = -large;
    const absl::StatusOr<QuantizedTensor> tensor = Quantize(recipe_, values, 128);
    EXPECT_EQ(tensor.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(tensor.status().ToString(), HasSubstr("row 1: weights that span"));
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, IntegerFormatTest,
                         testing::Values("int4", "int4-g64", "int4-asym", "int4-g64-asym", "int8", "int8-g64",
                                         "int8-g128"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Quantize, SymmetricLevelsReachFromMinusEightToSeven) {
  // 7.5 makes the scale exactly 1. Of two levels as near the even one is taken, if there is one.
  std::vector<float> row = {-7, -6, -5, -4, 7.5f, -7.5f, 0.5f, 1.5f, 2.4f, -0.5f, 6.6f};
  row.resize(128);
  const QuantizedTensor tensor = MustQuantize("int4", row, 128);
  EXPECT_THAT(tensor.scales.values, ElementsAre(1.0f));
  EXPECT_EQ(tensor.codes[0], 0x21);
  EXPECT_EQ(tensor.codes[1], 0x43);
  std::vector<int> codes;
  for (int64_t c = 4; c < 12; ++c) codes.push_back(CodeAt(tensor, 0, c));
  EXPECT_THAT(codes, ElementsAre(15, 0, 8, 10, 10, 8, 15, 8));
}

TEST(Quantize, DividesByTheScaleRatherThanByItsRoundedInverse) {
  for (uint16_t bits = 0x2400; bits < 0x2C00; bits += 37) {  // scales from 1/64 to 1/16
    const float scale = FloatFromFloat16(bits);
    std::vector<float> row;
    std::vector<int> codes;
    for (int level = -8; level < 8; ++level) {
      row.push_back((static_cast<float>(level) + 0.5f) * scale);  // exact, and so is the tie
      codes.push_back(std::min(8 + (level + 1) / 2 * 2, 15));
      if (level < 0) codes.back() = 8 + level / 2 * 2;
    }
    const QuantizedTensor tensor = MustQuantize("int4-g64", row, static_cast<int64_t>(row.size()));
    ASSERT_EQ(tensor.scales.values[0], scale);
    for (size_t c = 0; c < row.size(); ++c) {
      EXPECT_EQ(CodeAt(tensor, 0, static_cast<int64_t>(c)), codes[c]) << scale << " " << c;
    }
  }
}

TEST(Quantize, AsymmetricRangesIncludeZero) {
  std::vector<float> row(3 * 64);
  for (size_t i = 0; i < 64; ++i) {
    row[i] = 2.0f + static_cast<float>(i % 2);          // [0, 3]
    row[64 + i] = -2.0f - static_cast<float>(i % 2);    // [-3, 0]
    row[128 + i] = -0.5f + static_cast<float>(i % 16);  // [-0.5, 14.5]
  }
  const QuantizedTensor tensor = MustQuantize("int4-g64-asym", row, 192);
  EXPECT_THAT(tensor.scales.values, ElementsAre(RoundToFloat16(0.2), RoundToFloat16(0.2), 1.0f));
  EXPECT_THAT(tensor.scales.zeros, ElementsAre(0, 15, 0));
  EXPECT_EQ(CodeAt(tensor, 0, 0), 10);
  EXPECT_EQ(CodeAt(tensor, 0, 1), 15);
  EXPECT_EQ(CodeAt(tensor, 0, 64), 5);
  EXPECT_EQ(CodeAt(tensor, 0, 65), 0);
  EXPECT_EQ(CodeAt(tensor, 0, 128), 0);
  EXPECT_EQ(CodeAt(tensor, 0, 143), 14);
}

TEST(Quantize, AChannelHasOneScale) {
  std::vector<float> values = Normal(2 * 300, 0.01f);
  values[299] = 12.75f;
  values[300] = -25.5f;
  const QuantizedTensor tensor = MustQuantize("int8", values, 300);
  const auto first = static_cast<float>(RoundToFloat16(0.1));
  const auto second = static_cast<float>(RoundToFloat16(0.2));
  EXPECT_THAT(tensor.scales.values, ElementsAre(first, first, first, second, second, second));
  EXPECT_NE(MustQuantize("int8-g128", values, 300).scales.values[0], first);
}

TEST(Quantize, LeavesTheUnusedHalfOfAnOddRowZero) {
  const std::vector<float> values = Normal(3 * 65);
  const QuantizedTensor tensor = MustQuantize("int4-g64", values, 65);
  ASSERT_EQ(tensor.codes.size(), 3u * 33);
  for (size_t row = 0; row < 3; ++row) EXPECT_EQ(tensor.codes[row * 33 + 32] >> 4, 0);
}

TEST(Quantize, ZerosStayExactlyZero) {
  for (const char* name : kRecipes) {
    SCOPED_TRACE(name);
    std::vector<float> values = Normal(4 * 192);
    std::fill(values.begin() + 192, values.begin() + 384, 0.0f);
    std::fill(values.begin() + 384, values.begin() + 512, -0.0f);
    const std::vector<float> restored = Dequantize(MustQuantize(name, values, 192));
    for (size_t i = 192; i < 512; ++i) ASSERT_EQ(restored[i], 0.0f) << i;
    for (const float value : Dequantize(MustQuantize(name, std::vector<float>(256), 128))) ASSERT_EQ(value, 0.0f);
  }
}

TEST(Quantize, AGroupOfZerosHasTheMiddleAsItsZero) {
  for (const char* name : {"int4", "int4-g64-asym", "int8-g64"}) {
    SCOPED_TRACE(name);
    const QuantizedTensor tensor = MustQuantize(name, std::vector<float>(128), 128);
    EXPECT_THAT(tensor.scales.values, Each(0.0f));
    EXPECT_THAT(tensor.scales.zeros, Each(8));
    for (int64_t c = 0; c < 128; ++c) ASSERT_EQ(CodeAt(tensor, 0, c), tensor.quantization.default_zero());
  }
  const QuantizedTensor nf4 = MustQuantize("nf4", std::vector<float>(128), 128);
  EXPECT_THAT(nf4.codes, Each(0x77));
}

TEST(Quantize, RefusesWhatIsNotFinite) {
  for (const char* name : kRecipes) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      for (const size_t place : {0, 77, 191}) {
        ForEachVectorTarget([&] {
          std::vector<float> values = Normal(2 * 192);
          values[192 + place] = bad;
          const absl::StatusOr<QuantizedTensor> tensor = Quantize(Recipe(name), values, 192);
          EXPECT_EQ(tensor.status().code(), absl::StatusCode::kInvalidArgument) << name << " " << bad;
          EXPECT_THAT(tensor.status().ToString(), HasSubstr("row 1: weights that are not finite, in group"));
        });
      }
    }
  }
}

TEST(Quantize, RefusesRowsThatAFormatCannotHold) {
  EXPECT_THAT(Quantize(Recipe("nf4"), std::vector<float>(200), 100).status().ToString(),
              HasSubstr("multiple of 64 wide, not 100"));
}

TEST(Quantize, Nf4TakesTheNearestValue) {
  const std::vector<float> values = Normal(640, 0.3f);
  std::vector<uint8_t> codes(320);
  std::vector<float> scales(10);
  ASSERT_TRUE(QuantizeRow(Recipe("nf4"), values, codes.data(), scales.data(), nullptr).ok());
  for (size_t i = 0; i < values.size(); ++i) {
    const float scale = scales[i / 64];
    double best = 1e9;
    for (const float value : kNf4Values) best = std::min(best, std::abs(double{values[i]} - double{value} * scale));
    const float chosen = kNf4Values[static_cast<size_t>(codes[i / 2] >> (i % 2 * 4) & 15)];
    EXPECT_NEAR(std::abs(double{values[i]} - double{chosen} * scale), best, 1e-6 * scale) << i;
  }
}

}  // namespace
}  // namespace switchyard
