// Embedding, gathering and adding rows on the device. All results are exact: one rounding, or sums in a fixed order.
#include "kernels/cuda/rows.h"

#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

class RowsTest : public HalfTest {
 protected:
  std::vector<int32_t> RandomIndex(int64_t count, int64_t end) {
    std::vector<int32_t> index(static_cast<size_t>(count));
    for (int32_t& i : index) i = static_cast<int32_t>(Uniform(0, end - 1));
    return index;
  }
};
INSTANTIATE_TEST_SUITE_P(Types, RowsTest, HalfTypes(), HalfTypeName);

TEST_P(RowsTest, EmbedsTokensAsFloats) {
  constexpr int64_t kVocab = 37;
  for (const int64_t hidden : {8, 24, 512, 4104}) {
    const std::vector<uint16_t> table = RandomHalves(GetParam(), kVocab * hidden, random_);
    const DeviceVector<uint16_t> device_table(table);
    for (const int64_t tokens : {0, 1, 7, 260}) {
      SCOPED_TRACE(testing::Message() << tokens << " x " << hidden);
      const std::vector<int32_t> ids = RandomIndex(tokens, kVocab);
      const DeviceVector<int32_t> device_ids(ids);
      DeviceVector<float> out(static_cast<size_t>(tokens * hidden));
      EmbedTokens(GetParam(), device_table.data(), device_ids.data(), tokens, hidden, out.data(), TestStream());
      const std::vector<float> values = out.ToHost();
      for (int64_t i = 0; i < tokens * hidden; ++i) {
        ASSERT_EQ(values[i], FloatFromHalf(GetParam(), table[ids[i / hidden] * hidden + i % hidden])) << i;
      }
    }
  }
}

TEST(GatherRows, CopiesRowsOfAnySize) {
  std::mt19937 random(1);
  constexpr int64_t kSourceRows = 19;
  // In words of 4 bytes: narrow rows that share a block, rows of one and of several blocks, both widths of access.
  for (const int64_t words : {1, 2, 3, 4, 8, 28, 255, 260, 2048, 5000, 5001}) {
    std::vector<int32_t> source(kSourceRows * words);
    for (int32_t& word : source) word = static_cast<int32_t>(random());
    const DeviceVector<int32_t> device_source(source);
    for (const int64_t rows : {0, 1, 5, 300}) {
      SCOPED_TRACE(testing::Message() << rows << " rows of " << 4 * words << " bytes");
      std::vector<int32_t> index(static_cast<size_t>(rows));
      for (int32_t& i : index) i = static_cast<int32_t>(random() % kSourceRows);
      const DeviceVector<int32_t> device_index(index);
      DeviceVector<int32_t> out(static_cast<size_t>(rows * words));
      GatherRows(device_source.data(), device_index.data(), rows, 4 * words, out.data(), TestStream());
      const std::vector<int32_t> values = out.ToHost();
      for (int64_t i = 0; i < rows * words; ++i) {
        ASSERT_EQ(values[i], source[index[i / words] * words + i % words]) << i;
      }
    }
  }
}

TEST(GatherRows, CopiesRowsFromAnAddressThatIsNotAlignedTo16Bytes) {
  const std::vector<int32_t> source = {-1, 1, 2, 3, 4, 5, 6, 7, 8};
  const DeviceVector<int32_t> device_source(source);
  const DeviceVector<int32_t> index(std::vector<int32_t>{1, 0});
  DeviceVector<int32_t> out(8);
  GatherRows(device_source.data() + 1, index.data(), 2, 16, out.data(), TestStream());
  EXPECT_EQ(out.ToHost(), (std::vector<int32_t>{5, 6, 7, 8, 1, 2, 3, 4}));
}

TEST_P(RowsTest, SumsRowsInFloat32InTheirOrder) {
  constexpr int64_t kSourceRows = 23;
  for (const int64_t elements : {8, 40, 2048, 4104}) {
    const std::vector<uint16_t> source = RandomHalves(GetParam(), kSourceRows * elements, random_);
    const DeviceVector<uint16_t> device_source(source);
    for (const int64_t rows : {0, 1, 6, 257}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << elements);
      std::vector<int32_t> begin = {0};
      for (int64_t t = 0; t < rows; ++t) begin.push_back(begin.back() + static_cast<int32_t>(Uniform(0, 4)));
      const std::vector<int32_t> index = RandomIndex(begin.back(), kSourceRows);
      const DeviceVector<int32_t> device_begin(begin);
      const DeviceVector<int32_t> device_index(index);
      DeviceVector<uint16_t> out(static_cast<size_t>(rows * elements));
      SumRows(GetParam(), device_source.data(), device_begin.data(), device_index.data(), rows, elements, out.data(),
              TestStream());
      const std::vector<uint16_t> values = out.ToHost();
      for (int64_t i = 0; i < rows * elements; ++i) {
        float sum = 0;
        for (int32_t j = begin[i / elements]; j < begin[i / elements + 1]; ++j) {
          sum += FloatFromHalf(GetParam(), source[index[j] * elements + i % elements]);
        }
        ASSERT_EQ(values[i], HalfFromFloat(GetParam(), sum)) << "row " << i / elements;
      }
    }
  }
}

TEST(SumRows, SumsRowsOfFloats) {
  const DeviceVector<float> source(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 30, 40, 50, 60, 70, 80});
  const DeviceVector<int32_t> begin(std::vector<int32_t>{0, 3, 3});
  const DeviceVector<int32_t> index(std::vector<int32_t>{1, 0, 1});
  DeviceVector<float> out(16);
  SumRows(DType::kFloat32, source.data(), begin.data(), index.data(), 2, 8, out.data(), TestStream());
  EXPECT_EQ(out.ToHost(), (std::vector<float>{21, 42, 63, 84, 105, 126, 147, 168, 0, 0, 0, 0, 0, 0, 0, 0}));
}

constexpr int64_t kAddCounts[] = {0, 1, 7, 8, 9, 2047, 2048, 2053, 6000};

TEST_P(RowsTest, AddsElements) {
  for (const int64_t count : kAddCounts) {
    const std::vector<uint16_t> x = RandomHalves(GetParam(), count, random_);
    const std::vector<uint16_t> acc = RandomHalves(GetParam(), count, random_, 10.0f);
    const DeviceVector<uint16_t> device_x(x);
    DeviceVector<uint16_t> device_acc(acc);
    Add(GetParam(), device_x.data(), device_acc.data(), count, TestStream());
    const std::vector<uint16_t> values = device_acc.ToHost();
    for (int64_t i = 0; i < count; ++i) {
      const float sum = FloatFromHalf(GetParam(), acc[i]) + FloatFromHalf(GetParam(), x[i]);
      ASSERT_EQ(values[i], HalfFromFloat(GetParam(), sum)) << i << " of " << count;
    }
  }
}

TEST(Add, AddsFloats) {
  std::mt19937 random(2);
  for (const int64_t count : kAddCounts) {
    const std::vector<float> x = RandomFloats(count, random);
    std::vector<float> acc = RandomFloats(count, random, 10.0f);
    const DeviceVector<float> device_x(x);
    DeviceVector<float> device_acc(acc);
    Add(DType::kFloat32, device_x.data(), device_acc.data(), count, TestStream());
    for (int64_t i = 0; i < count; ++i) acc[i] += x[i];
    EXPECT_EQ(device_acc.ToHost(), acc);
  }
}

}  // namespace
}  // namespace switchyard::cuda
