// Against what bitsandbytes makes of the same weights: data/, written by tests/reference/make_quantization_vectors.py.
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <ostream>
#include <sstream>

#include "gmock/gmock.h"
#include "kernels/cpu/float_convert.h"
#include "tests/kernels/quantization/quantization_test_util.h"

namespace switchyard {
namespace {

using testing::ElementsAreArray;

std::string ReadData(const std::string& name) {
  std::ifstream file(SWITCHYARD_SOURCE_DIR "/tests/kernels/quantization/data/" + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// Takes arrays from the front of what a file holds.
class ArrayReader {
 public:
  explicit ArrayReader(const std::string& bytes) : bytes_(bytes) {}

  template <typename T>
  std::vector<T> Take(size_t count) {
    std::vector<T> values(count);
    EXPECT_LE(at_ + count * sizeof(T), bytes_.size());
    if (at_ + count * sizeof(T) > bytes_.size()) return values;
    std::memcpy(values.data(), bytes_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return values;
  }
  bool is_done() const { return at_ == bytes_.size(); }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
};

template <typename T>
uint64_t Fnv(std::span<const T> values) {
  uint64_t hash = 0xCBF29CE484222325u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size_bytes(); ++i) hash = (hash ^ bytes[i]) * 0x100000001B3u;
  return hash;
}

std::vector<uint32_t> BitsOf(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

struct Nf4Vectors {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> weights;
  std::vector<uint8_t> codes;
  std::vector<float> maxima;
  float offset = 0;
  std::vector<uint8_t> nested_codes;
  std::vector<float> nested_maxima;
  std::vector<float> scales;
  std::vector<uint64_t> row_hashes;
};

Nf4Vectors ReadNf4Vectors(const std::string& name) {
  const std::string bytes = ReadData(name);
  ArrayReader reader(bytes);
  const std::vector<int64_t> header = reader.Take<int64_t>(3);
  Nf4Vectors vectors = {.rows = header[0], .columns = header[1]};
  const auto count = static_cast<size_t>(vectors.rows * vectors.columns);
  if (header[2] == 2) {
    for (const uint16_t bits : reader.Take<uint16_t>(count)) vectors.weights.push_back(FloatFromBFloat16(bits));
  } else {
    vectors.weights = reader.Take<float>(count);
  }
  vectors.codes = reader.Take<uint8_t>(count / 2);
  for (uint8_t& pair : vectors.codes) pair = static_cast<uint8_t>(pair << 4 | pair >> 4);
  vectors.maxima = reader.Take<float>(count / 64);
  vectors.offset = reader.Take<float>(1)[0];
  vectors.nested_codes = reader.Take<uint8_t>(count / 64);
  vectors.nested_maxima = reader.Take<float>((count / 64 + 255) / 256);
  vectors.scales = reader.Take<float>(count / 64);
  vectors.row_hashes = reader.Take<uint64_t>(static_cast<size_t>(vectors.rows));
  EXPECT_TRUE(reader.is_done());
  return vectors;
}

// normal: bfloat16 [5, 4096]; uniform [87, 192]; outliers [40, 128]; alike [6, 64], whose blocks have one maximum;
// edges [12, 64], with zeros and denormal numbers; ties [4, 64], with what lies between two values exactly.
class BitsandbytesTest : public testing::TestWithParam<const char*> {
 protected:
  const Nf4Vectors expected_ = ReadNf4Vectors(std::string("nf4-") + GetParam() + ".bin");
};

TEST_P(BitsandbytesTest, CodesAndBlockMaximaAreTheSame) {
  Quantization plain = Recipe("nf4").stored;
  plain.double_quantized = false;
  ForEachVectorTarget([&] {
    const absl::StatusOr<QuantizedTensor> tensor = Quantize({.stored = plain}, expected_.weights, expected_.columns);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_THAT(tensor->codes, ElementsAreArray(expected_.codes));
    EXPECT_THAT(BitsOf(tensor->scales.values), ElementsAreArray(BitsOf(expected_.maxima)));
    EXPECT_TRUE(tensor->scales.nested_codes.empty());
  });
}

TEST_P(BitsandbytesTest, NestedScalesAreTheSame) {
  const QuantizedTensor tensor = MustQuantize("nf4", expected_.weights, expected_.columns);
  EXPECT_THAT(tensor.scales.nested_codes, ElementsAreArray(expected_.nested_codes));
  EXPECT_THAT(BitsOf(tensor.scales.values), ElementsAreArray(BitsOf(expected_.scales)));
  const NestedScales nested = tensor.scales.Rows(0, tensor.rows).nested;
  const int64_t groups = tensor.scales.groups;
  for (int64_t row = 0; row < tensor.rows; ++row) {
    EXPECT_EQ(nested.offsets[static_cast<size_t>(row)], expected_.offset);
    for (int64_t g = 0; g < groups; ++g) {
      const auto i = static_cast<size_t>(row * groups + g);
      EXPECT_EQ(NestedScaleAt(nested, groups, row, g), expected_.nested_maxima[i / 256]);
      EXPECT_EQ(ScaleFromNested(nested, groups, row, g), expected_.scales[i]);
    }
  }
}

TEST_P(BitsandbytesTest, ValuesAreTheSame) {
  const QuantizedTensor tensor = MustQuantize("nf4", expected_.weights, expected_.columns);
  const std::vector<float> values = Dequantize(tensor);
  for (int64_t row = 0; row < tensor.rows; ++row) {
    const auto columns = static_cast<size_t>(tensor.columns);
    EXPECT_EQ(Fnv(std::span<const float>(values).subspan(static_cast<size_t>(row) * columns, columns)),
              expected_.row_hashes[static_cast<size_t>(row)])
        << "row " << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, BitsandbytesTest,
                         testing::Values("normal", "uniform", "outliers", "alike", "edges", "ties"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DynamicMap, IsThatOfBitsandbytes) {
  const std::string bytes = ReadData("dynamic-map.bin");
  EXPECT_THAT(BitsOf(DynamicMap()), ElementsAreArray(ArrayReader(bytes).Take<uint32_t>(256)));
}

// block_maxima of make_quantization_vectors.py.
std::vector<float> BlockMaxima(size_t count) {
  std::vector<float> maxima;
  maxima.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t state = (i + 1) * 0x9E3779B97F4A7C15u;
    state ^= state >> 32;
    state *= 0xD6E8FEB86659FD93u;
    maxima.push_back(static_cast<float>(state >> 40) * 0x1p-28f + 0x1p-6f);
  }
  return maxima;
}

struct NestedCase {
  size_t count = 0;
  uint32_t offset_bits = 0;
  uint64_t codes_hash = 0;  // 0: the offset alone counts
  uint64_t scales_hash = 0;
};

std::vector<NestedCase> ReadNestedCases() {
  std::istringstream text(ReadData("nested.txt"));
  std::vector<NestedCase> cases;
  for (NestedCase c; text >> std::dec >> c.count >> std::hex >> c.offset_bits >> c.codes_hash >> c.scales_hash;) {
    cases.push_back(c);
  }
  EXPECT_GT(cases.size(), 10u);
  return cases;
}

// Every order of summation that a number of blocks may take: torch sums in vectors, interleaved, in a cascade.
TEST(DoubleQuantize, HasTheOffsetOfBitsandbytesForAnyNumberOfBlocks) {
  for (const NestedCase& expected : ReadNestedCases()) {
    SCOPED_TRACE(expected.count);
    ScaleArrays scales = {
        .rows = 1, .groups = static_cast<int64_t>(expected.count), .values = BlockMaxima(expected.count)};
    DoubleQuantize(scales);
    EXPECT_EQ(std::bit_cast<uint32_t>(scales.nested_offsets[0]), expected.offset_bits);
    if (expected.codes_hash == 0) continue;
    EXPECT_EQ(Fnv<uint8_t>(scales.nested_codes), expected.codes_hash);
    const size_t blocks = (expected.count + 255) / 256;
    EXPECT_EQ(Fnv(std::span<const float>(scales.nested_scales).first(blocks)), expected.scales_hash);
  }
}

TEST(DoubleQuantize, HoldsDifferencesNearTheLeastDivisor) {
  ScaleArrays scales = {.rows = 1, .groups = 4, .values = {1e-35f, -1e-35f, 1e-39f, -1e-39f}};
  DoubleQuantize(scales);
  ASSERT_EQ(scales.nested_offsets[0], 0.0f);
  EXPECT_EQ(scales.nested_codes[0], 255);
  EXPECT_EQ(scales.nested_codes[1], 0);
  EXPECT_EQ(scales.nested_scales[0], 1e-35f);
}

TEST(DoubleQuantize, MakesNothingOfNoRows) {
  ScaleArrays scales = {.rows = 0, .groups = 3};
  DoubleQuantize(scales);
  EXPECT_TRUE(scales.nested_codes.empty() && scales.nested_offsets.empty());
}

// The search of bitsandbytes' GPU kernel ends at the even code of two as near.
TEST(DoubleQuantize, TakesTheEvenCodeOfTwoAsNear) {
  const std::span<const float, 256> map = DynamicMap();
  for (size_t half = 0; half < 2; ++half) {
    // A mean of 0 and a scale of 1; the map below 1 is symmetric, so that every middle has its negative.
    std::vector<float> values = {1.0f, -1.0f};
    std::vector<uint8_t> codes = {255, 0};
    for (size_t i = half * 127; i < half * 127 + 127; ++i) {
      const float middle = (map[i] + map[i + 1]) * 0.5f;
      values.insert(values.end(), {middle, -middle});
      for (const size_t lower : {i, 253 - i}) codes.push_back(static_cast<uint8_t>(lower + lower % 2));
    }
    ScaleArrays scales = {.rows = 1, .groups = static_cast<int64_t>(values.size()), .values = values};
    DoubleQuantize(scales);
    ASSERT_EQ(scales.nested_offsets[0], 0.0f);
    ASSERT_EQ(scales.nested_scales[0], 1.0f);
    EXPECT_THAT(scales.nested_codes, ElementsAreArray(codes));
  }
}

}  // namespace
}  // namespace switchyard
