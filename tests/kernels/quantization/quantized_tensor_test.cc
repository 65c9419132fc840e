#include "kernels/quantization/quantized_tensor.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "tests/kernels/quantization/quantization_test_util.h"

namespace switchyard {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

// That every scale is what its nested arrays say.
void ExpectNestedScalesHold(const QuantizedTensor& tensor) {
  const int64_t groups = tensor.scales.groups;
  const GroupScales scales = tensor.scales.Rows(0, tensor.rows);
  ASSERT_EQ(scales.nested.codes.size(), static_cast<size_t>(tensor.rows * groups));
  ASSERT_EQ(scales.nested.scales.size(), static_cast<size_t>(tensor.rows * NumNestedScales(groups)));
  for (int64_t row = 0; row < tensor.rows; ++row) {
    const int32_t change = scales.nested.change[static_cast<size_t>(row)];
    ASSERT_TRUE(change >= 1 && change <= 256) << change;
    for (int64_t g = 0; g < groups; ++g) {
      ASSERT_EQ(ScaleFromNested(scales.nested, groups, row, g), scales.values[static_cast<size_t>(row * groups + g)])
          << "row " << row << ", group " << g;
    }
  }
}

// Rows [row_begin, row_end) and columns [begin, end) of `values`.
std::vector<float> Part(const std::vector<float>& values, int64_t columns, int64_t row_begin, int64_t row_end,
                        int64_t begin, int64_t end) {
  std::vector<float> part;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const auto first = values.begin() + row * columns;
    part.insert(part.end(), first + begin, first + end);
  }
  return part;
}

TEST(SliceRows, HoldsTheValuesOfItsRows) {
  for (const char* name : {"nf4", "int4", "int4-g64-asym", "int8"}) {
    SCOPED_TRACE(name);
    constexpr int64_t kColumns = 192;
    const QuantizedTensor tensor = MustQuantize(name, Normal(100 * kColumns), kColumns);
    const std::vector<float> values = Dequantize(tensor);
    for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 100}, {17, 93}, {99, 100}, {5, 5}}) {
      const QuantizedTensor slice = SliceRows(tensor, begin, end);
      EXPECT_EQ(slice.rows, end - begin);
      EXPECT_EQ(slice.columns, kColumns);
      EXPECT_EQ(slice.quantization, tensor.quantization);
      EXPECT_EQ(slice.scales.zeros.size(), tensor.quantization.has_zeros ? slice.scales.values.size() : 0);
      EXPECT_THAT(Dequantize(slice), ElementsAreArray(Part(values, kColumns, begin, end, 0, kColumns)));
      if (tensor.quantization.double_quantized) ExpectNestedScalesHold(slice);
    }
  }
}

TEST(SliceColumns, HoldsTheValuesOfItsColumns) {
  for (const char* name : {"int4", "int4-g64", "int4-g64-asym", "int8", "int8-g64"}) {
    SCOPED_TRACE(name);
    constexpr int64_t kColumns = 325;  // an odd number, and a short last group
    const QuantizedTensor tensor = MustQuantize(name, Normal(7 * kColumns), kColumns);
    const std::vector<float> values = Dequantize(tensor);
    for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
             {0, kColumns}, {0, 128}, {128, 256}, {128, kColumns}, {256, kColumns}, {128, 128}}) {
      const QuantizedTensor slice = SliceColumns(tensor, begin, end);
      EXPECT_EQ(slice.rows, 7);
      EXPECT_EQ(slice.columns, end - begin);
      EXPECT_EQ(slice.scales.groups, slice.quantization.NumGroups(slice.columns));
      EXPECT_THAT(Dequantize(slice), ElementsAreArray(Part(values, kColumns, 0, 7, begin, end)));
    }
  }
}

// Rows of several sizes: nested blocks begin at any place in a row, or at several.
TEST(SliceColumns, KeepsTheNestedScalesOfItsGroups) {
  for (const int64_t groups : {128, 192, 300, 1024}) {
    const int64_t columns = groups * 64;
    const QuantizedTensor tensor = MustQuantize("nf4", Normal(static_cast<size_t>(4 * columns)), columns);
    ExpectNestedScalesHold(tensor);
    const std::vector<float> values = Dequantize(tensor);
    std::vector<std::pair<int64_t, int64_t>> ranges = {{3, 103}, {groups - 101, groups}, {7, 8}, {groups - 1, groups}};
    for (const int64_t parts : {1, 2, 3, 4}) {
      if (groups % parts != 0) continue;
      for (int64_t i = 0; i < parts; ++i) ranges.emplace_back(i * groups / parts, (i + 1) * groups / parts);
    }
    for (const auto& [begin, end] : ranges) {
      SCOPED_TRACE(testing::Message() << groups << " groups, [" << begin << ", " << end << ")");
      const QuantizedTensor slice = SliceColumns(tensor, begin * 64, end * 64);
      ExpectNestedScalesHold(slice);
      EXPECT_EQ(Dequantize(slice), Part(values, columns, 0, 4, begin * 64, end * 64));
    }
  }
}

TEST(SliceColumns, OfASliceOfRowsIsTheSameEitherWay) {
  const QuantizedTensor tensor = MustQuantize("nf4", Normal(6 * 300 * 64), 300 * 64);
  const QuantizedTensor one = SliceColumns(SliceRows(tensor, 2, 5), 64 * 17, 64 * 290);
  const QuantizedTensor other = SliceRows(SliceColumns(tensor, 64 * 17, 64 * 290), 2, 5);
  EXPECT_EQ(one.codes, other.codes);
  EXPECT_EQ(one.scales.nested_scales, other.scales.nested_scales);
  EXPECT_EQ(one.scales.nested_change, other.scales.nested_change);
  EXPECT_EQ(one.scales.nested_codes, other.scales.nested_codes);
}

TEST(SliceColumnsDeathTest, BeginsAndEndsAtGroups) {
  const QuantizedTensor tensor = MustQuantize("int4-g64", Normal(2 * 256), 256);
  EXPECT_DEATH(SliceColumns(tensor, 32, 128), "column_begin");
  EXPECT_DEATH(SliceColumns(tensor, 64, 96), "column_end");
  QuantizedTensor reordered = tensor;
  reordered.quantization.reordered = true;
  EXPECT_DEATH(SliceColumns(reordered, 64, 128), "reordered");
}

// Row 21 of 12 groups begins 4 groups before a nested block ends: no room for the other scale beside that of 8 groups.
TEST(SliceColumns, HasPlainScalesWhereNestedOnesDoNotFit) {
  constexpr int64_t kColumns = 12 * 64;
  const QuantizedTensor tensor = MustQuantize("nf4", Normal(22 * kColumns), kColumns);
  const std::vector<float> values = Dequantize(tensor);
  for (const auto& [begin, end, fit] : std::vector<std::tuple<int64_t, int64_t, bool>>{
           {0, 4, true}, {8, 12, true}, {0, 3, true}, {0, 8, false}, {4, 12, false}, {1, 5, false}, {2, 6, false}}) {
    SCOPED_TRACE(testing::Message() << "[" << begin << ", " << end << ")");
    const QuantizedTensor slice = SliceColumns(tensor, begin * 64, end * 64);
    EXPECT_EQ(slice.quantization.double_quantized, fit);
    EXPECT_EQ(slice.scales.nested_codes.empty(), !fit);
    EXPECT_EQ(Dequantize(slice), Part(values, kColumns, 0, 22, begin * 64, end * 64));
    if (fit) ExpectNestedScalesHold(slice);
  }
}

// By the definition: every row of a tensor long enough for all its beginnings.
TEST(NestedScalesFit, SaysWhetherAnyRowWouldNeedMore) {
  for (const int64_t groups : {1, 2, 3, 12, 32, 56, 64, 96, 100, 256, 300}) {
    for (int64_t begin = 0; begin < groups; ++begin) {
      for (int64_t end = begin + 1; end <= groups; ++end) {
        int64_t most = 0;
        for (int64_t row = 0; row < kNestedBlock; ++row) {
          const int64_t first = row * groups + begin;
          const int64_t last = row * groups + end - 1;
          most = std::max(most, last / kNestedBlock - first / kNestedBlock + 1);
        }
        ASSERT_EQ(NestedScalesFit(groups, begin, end), most <= NumNestedScales(end - begin))
            << groups << " groups, [" << begin << ", " << end << ")";
      }
    }
  }
}

TEST(Regroup, KeepsEveryValue) {
  for (const char* name : {"int4", "int4-asym", "int8-g128"}) {
    for (const int64_t columns : {256, 325, 65, 64}) {
      SCOPED_TRACE(testing::Message() << name << ", " << columns);
      const QuantizedTensor tensor = MustQuantize(name, Normal(static_cast<size_t>(3 * columns)), columns);
      const QuantizedTensor regrouped = Regroup(tensor, 64);
      EXPECT_EQ(regrouped.quantization.group_size, 64);
      EXPECT_EQ(regrouped.scales.groups, (columns + 63) / 64);
      EXPECT_EQ(regrouped.scales.zeros.empty(), tensor.scales.zeros.empty());
      EXPECT_EQ(Dequantize(regrouped), Dequantize(tensor));
    }
  }
}

TEST(Regroup, SplitsOneGroupARow) {
  QuantizedTensor tensor = MustQuantize("int8-g128", Normal(2 * 384), 384);
  tensor.quantization.group_size = 384;  // as files with one scale a row have it
  tensor.scales.groups = 1;
  tensor.scales.values = {0.5f, 0.25f};
  const QuantizedTensor regrouped = Regroup(tensor, 128);
  EXPECT_THAT(regrouped.scales.values, ElementsAre(0.5f, 0.5f, 0.5f, 0.25f, 0.25f, 0.25f));
  EXPECT_EQ(Dequantize(regrouped), Dequantize(tensor));
}

TEST(DequantizeRows, FollowsTheOrderOfTheInputFeatures) {
  QuantizedTensor tensor = MustQuantize("int4-g64", Normal(3 * 128), 128);
  const std::vector<float> stored = Dequantize(tensor);
  tensor.quantization.reordered = true;
  tensor.order.resize(128);
  for (int32_t c = 0; c < 128; ++c) tensor.order[static_cast<size_t>(c)] = c * 37 % 128;
  std::vector<float> values(2 * 128);
  DequantizeRows(tensor, 1, 3, values);
  for (size_t row = 0; row < 2; ++row) {
    for (size_t c = 0; c < 128; ++c) {
      EXPECT_EQ(values[row * 128 + static_cast<size_t>(tensor.order[c])], stored[(row + 1) * 128 + c]);
    }
  }
  EXPECT_EQ(SliceRows(tensor, 0, 1).order, tensor.order);
}

TEST(ScaleArrays, LendsTheScalesOfItsRows) {
  const QuantizedTensor asymmetric = MustQuantize("int4-asym", Normal(5 * 256), 256);
  const GroupScales rows = asymmetric.scales.Rows(1, 4);
  EXPECT_EQ(rows.num_rows, 3);
  EXPECT_EQ(rows.values.data(), asymmetric.scales.values.data() + 2);
  EXPECT_EQ(rows.values.size(), 6u);
  EXPECT_EQ(rows.zeros.data(), asymmetric.scales.zeros.data() + 2);
  EXPECT_THAT(rows.nested.codes, IsEmpty());

  const QuantizedTensor nested = MustQuantize("nf4", Normal(5 * 192), 192);
  const GroupScales last = nested.scales.Rows(4, 5);
  EXPECT_THAT(last.zeros, IsEmpty());
  EXPECT_EQ(last.nested.codes.data(), nested.scales.nested_codes.data() + 12);
  EXPECT_EQ(last.nested.scales.data(), nested.scales.nested_scales.data() + 4 * NumNestedScales(3));
  EXPECT_EQ(last.nested.change[0], 256 - 12);
  EXPECT_EQ(last.nested.offsets.size(), 1u);
}

}  // namespace
}  // namespace switchyard
