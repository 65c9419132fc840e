// Quantised weights of the reference backend.
#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "kernels/cpu/host_weights.h"
#include "tests/kernels/quantization/quantization_test_util.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

ConstTensorView CodesOf(const QuantizedTensor& tensor) {
  return ConstTensorView(tensor.codes.data(), DType::kUInt8,
                         {tensor.rows, tensor.quantization.CodeBytes(tensor.columns)});
}

std::unique_ptr<HostMatrix> MakeMatrix(int64_t rows, int64_t columns, const Quantization& quantization) {
  auto matrix = HostMatrix::Create({.out_features = rows, .in_features = columns, .quantization = quantization});
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  return *std::move(matrix);
}

std::vector<float> ValuesOf(const HostMatrix& matrix) {
  const int64_t columns = matrix.spec().in_features;
  std::vector<float> values(static_cast<size_t>(matrix.spec().out_features * columns));
  for (int64_t row = 0; row < matrix.spec().out_features; ++row) matrix.ConvertRow(row, values.data() + row * columns);
  return values;
}

TEST(QuantizedHostMatrix, HoldsTheValuesOfItsRows) {
  for (const char* name : {"nf4", "int4", "int4-g64-asym", "int8", "int8-g64"}) {
    SCOPED_TRACE(name);
    constexpr int64_t kColumns = 192;
    const QuantizedTensor tensor = MustQuantize(name, Normal(10 * kColumns), kColumns);
    const std::unique_ptr<HostMatrix> matrix = MakeMatrix(10, kColumns, tensor.quantization);
    // Scales before codes and after, in parts.
    const QuantizedTensor head = SliceRows(tensor, 0, 3);
    const QuantizedTensor tail = SliceRows(tensor, 3, 10);
    ASSERT_TRUE(matrix->FillScales(3, tail.scales.Rows(0, 7)).ok());
    ASSERT_TRUE(matrix->FillCodes(0, CodesOf(head)).ok());
    ASSERT_TRUE(matrix->FillCodes(3, CodesOf(tail)).ok());
    ASSERT_TRUE(matrix->FillScales(0, tensor.scales.Rows(0, 3)).ok());
    EXPECT_EQ(ValuesOf(*matrix), Dequantize(tensor));
  }
}

TEST(QuantizedHostMatrix, ConvertsRowsToTheOrderOfTheInputFeatures) {
  QuantizedTensor tensor = MustQuantize("int4-g64", Normal(4 * 128), 128);
  tensor.quantization.reordered = true;
  tensor.order.resize(128);
  for (int32_t c = 0; c < 128; ++c) tensor.order[static_cast<size_t>(c)] = c * 5 % 128;
  const std::unique_ptr<HostMatrix> matrix = MakeMatrix(4, 128, tensor.quantization);
  ASSERT_TRUE(matrix->FillColumnOrder(tensor.order).ok());
  ASSERT_TRUE(matrix->FillCodes(0, CodesOf(tensor)).ok());
  ASSERT_TRUE(matrix->FillScales(0, tensor.scales.Rows(0, 4)).ok());
  EXPECT_EQ(ValuesOf(*matrix), Dequantize(tensor));
}

TEST(QuantizedHostMatrix, CountsItsBytes) {
  const auto bytes = [](const char* name) {
    return MakeMatrix(10, 256, ParseQuantizationRecipe(name)->stored)->bytes();
  };
  EXPECT_EQ(bytes("int4"), 10u * (128 + 2 * 4));
  EXPECT_EQ(bytes("int4-asym"), 10u * (128 + 2 * 4 + 2));
  EXPECT_EQ(bytes("int8-g64"), 10u * (256 + 4 * 4));
  EXPECT_EQ(bytes("nf4"), 10u * (128 + 4 * 4));
}

TEST(QuantizedHostMatrix, RefusesASpecificationThatNobodyHolds) {
  EXPECT_THAT(HostMatrix::Create({.out_features = 4, .in_features = 100, .quantization = Recipe("nf4").stored})
                  .status()
                  .ToString(),
              HasSubstr("multiple of 64 wide, not 100"));
}

TEST(QuantizedHostMatrix, RefusesCodesThatDoNotFit) {
  const QuantizedTensor tensor = MustQuantize("int4-g64", Normal(4 * 128), 128);
  const std::unique_ptr<HostMatrix> matrix = MakeMatrix(5, 128, tensor.quantization);
  const auto expect_refused = [&](int64_t row, ConstTensorView codes) {
    const absl::Status status = matrix->FillCodes(row, codes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.ToString(), HasSubstr("do not fit the matrix [5, 128], int4 in groups of 64"));
  };
  const uint8_t* data = tensor.codes.data();
  EXPECT_TRUE(matrix->FillCodes(1, CodesOf(tensor)).ok());
  expect_refused(2, CodesOf(tensor));
  expect_refused(-1, CodesOf(tensor));
  expect_refused(0, ConstTensorView(data, DType::kUInt8, {2, 128}));
  expect_refused(0, ConstTensorView(data, DType::kUInt8, {64}));
  expect_refused(0, ConstTensorView(data, DType::kInt8, {1, 64}));
}

TEST(QuantizedHostMatrix, RefusesScalesThatDoNotFit) {
  const QuantizedTensor tensor = MustQuantize("int4-g64-asym", Normal(4 * 128), 128);
  const std::unique_ptr<HostMatrix> matrix = MakeMatrix(5, 128, tensor.quantization);
  const auto expect_refused = [&](int64_t row, const GroupScales& scales) {
    const absl::Status status = matrix->FillScales(row, scales);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.ToString(), HasSubstr("do not fit the matrix [5, 128], int4 in groups of 64, asymmetric"));
  };
  const GroupScales good = tensor.scales.Rows(0, 4);
  EXPECT_TRUE(matrix->FillScales(1, good).ok());
  expect_refused(2, good);
  expect_refused(-1, good);
  GroupScales bad = good;
  bad.num_rows = 3;
  expect_refused(0, bad);
  bad = good;
  bad.values = bad.values.first(7);
  expect_refused(0, bad);
  bad = good;
  bad.zeros = {};
  expect_refused(0, bad);
  bad = good;
  bad.nested.offsets = bad.values.first(4);
  expect_refused(0, bad);
}

TEST(QuantizedHostMatrix, WantsTheNestedScalesWhereTheyAreHeld) {
  const QuantizedTensor tensor = MustQuantize("nf4", Normal(4 * 192), 192);
  const std::unique_ptr<HostMatrix> matrix = MakeMatrix(4, 192, tensor.quantization);
  const GroupScales good = tensor.scales.Rows(0, 4);
  EXPECT_TRUE(matrix->FillScales(0, good).ok());
  const auto expect_refused = [&](const GroupScales& scales) {
    EXPECT_EQ(matrix->FillScales(0, scales).code(), absl::StatusCode::kInvalidArgument);
  };
  GroupScales bad = good;
  bad.nested = {};
  expect_refused(bad);
  bad = good;
  bad.nested.codes = bad.nested.codes.first(3);
  expect_refused(bad);
  bad = good;
  bad.nested.scales = bad.nested.scales.first(1);
  expect_refused(bad);
  bad = good;
  bad.nested.change = bad.nested.change.first(3);
  expect_refused(bad);
  bad = good;
  bad.nested.offsets = {};
  expect_refused(bad);
}

TEST(QuantizedHostMatrix, RefusesAnOrderThatIsNoPermutation) {
  Quantization quantization = Recipe("int4-g64").stored;
  std::vector<int32_t> order(128);
  std::iota(order.begin(), order.end(), 0);
  const auto code = [&](const std::vector<int32_t>& candidate) {
    return MakeMatrix(2, 128, quantization)->FillColumnOrder(candidate).code();
  };
  EXPECT_EQ(code(order), absl::StatusCode::kInvalidArgument) << "not reordered";
  quantization.reordered = true;
  EXPECT_EQ(code(order), absl::StatusCode::kOk);
  std::vector<int32_t> bad = order;
  bad.pop_back();
  EXPECT_EQ(code(bad), absl::StatusCode::kInvalidArgument);
  for (const int32_t value : {6, -1, 128}) {  // twice, and outside
    bad = order;
    bad[5] = value;
    EXPECT_EQ(code(bad), absl::StatusCode::kInvalidArgument) << value;
  }
}

TEST(QuantizedHostMatrix, IsNotFilledWithDenseRowsNorADenseOneWithCodes) {
  const QuantizedTensor tensor = MustQuantize("int8", Normal(2 * 128), 128);
  const std::vector<uint16_t> rows(2 * 128);
  EXPECT_FALSE(
      MakeMatrix(2, 128, tensor.quantization)->Fill(0, ConstTensorView(rows.data(), DType::kBFloat16, {2, 128})).ok());
  const std::unique_ptr<HostMatrix> dense = MakeMatrix(2, 128, {});
  EXPECT_FALSE(dense->FillCodes(0, CodesOf(tensor)).ok());
  EXPECT_FALSE(dense->FillScales(0, tensor.scales.Rows(0, 2)).ok());
}

TEST(QuantizedHostMatrix, RandomValuesHaveTheDeviationAskedFor) {
  for (const char* name : {"nf4", "int4", "int4-g64-asym", "int8", "int8-g64"}) {
    SCOPED_TRACE(name);
    Quantization quantization = Recipe(name).stored;
    quantization.reordered = quantization.format == WeightFormat::kInt4;
    const std::unique_ptr<HostMatrix> matrix = MakeMatrix(64, 576, quantization);
    ASSERT_TRUE(matrix->FillRandom(7, 0.02f).ok());
    const std::vector<float> values = ValuesOf(*matrix);
    const auto count = static_cast<double>(values.size());
    double sum = 0;
    double squares = 0;
    for (const float value : values) {
      sum += value;
      squares += double{value} * value;
    }
    const double mean = sum / count;
    // Of n numbers the mean found lies within 5 / sqrt(n) deviations of the true one, and the deviation within less.
    const double tolerance = 5 / std::sqrt(count);
    EXPECT_NEAR(std::sqrt(squares / count - mean * mean), 0.02, 0.02 * tolerance);
    EXPECT_NEAR(mean, 0, 0.02 * tolerance);
    const std::unique_ptr<HostMatrix> other = MakeMatrix(64, 576, quantization);
    ASSERT_TRUE(other->FillRandom(8, 0.02f).ok());
    EXPECT_NE(ValuesOf(*other), values);
    ASSERT_TRUE(other->FillRandom(7, 0.02f).ok());
    EXPECT_EQ(ValuesOf(*other), values);
  }
}

}  // namespace
}  // namespace switchyard
