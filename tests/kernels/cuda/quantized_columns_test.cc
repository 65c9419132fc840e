#include "kernels/cuda/quantized_columns.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/quantization/quantized_rows.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/quantized_problem.h"

namespace switchyard::cuda {
namespace {

class QuantizedColumnsTest : public testing::TestWithParam<NamedQuantization> {
 protected:
  std::mt19937 random_{20240611};
};
INSTANTIATE_TEST_SUITE_P(All, QuantizedColumnsTest, testing::ValuesIn(AllQuantizations()),
                         [](const auto& info) { return info.param.name; });

std::vector<float> Embed(const QuantizedMatrix& table, const std::vector<int32_t>& ids) {
  const DeviceVector<int32_t> device_ids(ids);
  const DeviceVector<float> out(ids.size() * static_cast<size_t>(table.columns));
  EmbedQuantized(table, device_ids.data(), static_cast<int64_t>(ids.size()), out.data(), TestStream());
  return out.ToHost();
}

TEST_P(QuantizedColumnsTest, EmbedsRowsInTheOrderOfTheFeatures) {
  Quantization quantization = GetParam().quantization;
  for (const bool reordered : {false, true}) {
    quantization.reordered = reordered;
    const std::vector<QuantizedTensor> table = {RandomQuantized(quantization, 7, 320, random_)};
    const DeviceVector<uint8_t> memory = UploadQuantized(table);
    const std::vector<int32_t> ids = {6, 0, 3, 3};
    const std::vector<float> out = Embed(ViewOf(table, memory), ids);
    for (size_t t = 0; t < ids.size(); ++t) {
      std::vector<float> expected(320);
      DequantizeRows(table[0], ids[t], ids[t] + 1, expected);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_FLOAT_EQ(out[t * 320 + i], expected[i]) << "token " << t << ", feature " << i;
      }
    }
  }
}

// Groups of a row that has three nested scales.
TEST(EmbedQuantized, ChangesNestedScalesEvery256Groups) {
  constexpr int64_t kColumns = int64_t{64} * 300;
  std::mt19937 random(1);
  const std::vector<QuantizedTensor> table = {
      RandomQuantized({.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}, 2, kColumns, random)};
  const DeviceVector<uint8_t> memory = UploadQuantized(table);
  const std::vector<float> out = Embed(ViewOf(table, memory), {1});
  std::vector<float> expected(kColumns);
  DequantizeRows(table[0], 1, 2, expected);
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_FLOAT_EQ(out[i], expected[i]) << "feature " << i;
}

TEST_P(QuantizedColumnsTest, FillsWithRandomNumbersOfTheDeviationAskedFor) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kColumns = 256;
  constexpr float kDeviation = 0.02f;
  const Quantization& quantization = GetParam().quantization;
  const DeviceVector<uint8_t> memory(QuantizedBytes(quantization, kRows, kColumns, 2));
  const QuantizedMatrix view = ViewQuantized(quantization, kRows, kColumns, 2, memory.data());
  if (view.dynamic_map != nullptr) {
    CheckCuda(cudaMemcpyAsync(const_cast<float*>(view.dynamic_map), DynamicMap().data(), DynamicMap().size_bytes(),
                              cudaMemcpyHostToDevice, TestStream()));
  }
  FillRandomQuantized(view, 2, 5, kDeviation, TestStream());
  std::vector<int32_t> ids(kRows);
  for (int32_t i = 0; i < kRows; ++i) ids[static_cast<size_t>(i)] = i;
  const std::vector<float> first = Embed(view, ids);
  QuantizedMatrix second_view = ViewQuantized(quantization, kRows, kColumns, 1, memory.data() + view.stride);
  second_view.dynamic_map = view.dynamic_map;
  const std::vector<float> second = Embed(second_view, ids);
  EXPECT_NE(first, second);
  for (const std::vector<float>& values : {first, second}) {
    double sum = 0;
    double squares = 0;
    for (const float value : values) {
      sum += value;
      squares += double{value} * value;
    }
    const auto count = static_cast<double>(values.size());
    EXPECT_NEAR(sum / count, 0, 5 * kDeviation / std::sqrt(count));
    EXPECT_NEAR(std::sqrt(squares / count), kDeviation, 0.03 * kDeviation);
  }
  FillRandomQuantized(view, 2, 5, kDeviation, TestStream());
  EXPECT_EQ(Embed(view, ids), first);
  FillRandomQuantized(view, 2, 6, kDeviation, TestStream());
  EXPECT_NE(Embed(view, ids), first);
}

}  // namespace
}  // namespace switchyard::cuda
