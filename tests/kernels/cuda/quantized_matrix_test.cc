#include "kernels/cuda/quantized_matrix.h"

#include <cstring>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/quantized_problem.h"

namespace switchyard::cuda {
namespace {

constexpr Quantization kNf4Double = {.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true};
constexpr Quantization kInt4 = {.format = WeightFormat::kInt4, .group_size = 128};

uint32_t WordAt(const std::vector<uint8_t>& bytes, size_t word) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + 4 * word, 4);
  return value;
}

// Column c has code c % 16, and codes of a second 64 differ by 1.
std::vector<uint8_t> CountingCodes(int64_t columns) {
  std::vector<uint8_t> codes(static_cast<size_t>((columns + 1) / 2));
  for (int64_t c = 0; c < columns; ++c) {
    codes[static_cast<size_t>(c / 2)] |= static_cast<uint8_t>((c + c / 64) % 16 << (c % 2 * 4));
  }
  return codes;
}

TEST(PackCodes, KeepsTheSixteenColumnsOfALaneTogether) {
  std::vector<uint8_t> packed(64);
  PackCodes({.format = WeightFormat::kNf4, .group_size = 64}, 128, CountingCodes(128).data(), packed.data());
  for (size_t chunk = 0; chunk < 4; ++chunk) {
    EXPECT_EQ(WordAt(packed, 4 * chunk), 0x76543210u);
    EXPECT_EQ(WordAt(packed, 4 * chunk + 1), 0xFEDCBA98u);
    EXPECT_EQ(WordAt(packed, 4 * chunk + 2), 0x87654321u);
    EXPECT_EQ(WordAt(packed, 4 * chunk + 3), 0x0FEDCBA9u);
  }
}

TEST(PackCodes, PutsNeighboursOfInt4InBothHalvesOfAWord) {
  std::vector<uint8_t> packed(64);
  PackCodes(kInt4, 128, CountingCodes(128).data(), packed.data());
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(WordAt(packed, 0) >> (4 * i) & 0x000F000Fu, (2 * i) | (2 * i + 1) << 16);
  }
}

TEST(PackCodes, PlacesEveryColumnOnceAndPadsTheRow) {
  std::mt19937 random(1);
  for (const Quantization& quantization : {kNf4Double, kInt4}) {
    for (const int64_t columns : {int64_t{64}, int64_t{192}, int64_t{320}}) {
      const QuantizedTensor tensor = RandomQuantized(quantization, 1, columns, random);
      std::vector<uint8_t> packed(static_cast<size_t>(MakeQuantizedLayout(quantization, 1, columns).row_bytes), 0xFF);
      PackCodes(quantization, columns, tensor.codes.data(), packed.data());
      std::vector<int> before(16);
      std::vector<int> after(16);
      for (const uint8_t byte : tensor.codes) ++before[byte & 15], ++before[byte >> 4];
      for (const uint8_t byte : packed) ++after[byte & 15], ++after[byte >> 4];
      before[0] += static_cast<int>(2 * (packed.size() - tensor.codes.size()));
      EXPECT_EQ(before, after);
    }
  }
}

TEST(PackCodes, LeavesBytesAsTheyAre) {
  std::vector<uint8_t> codes(72);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(3 * i + 1);
  std::vector<uint8_t> packed(128, 0xFF);
  PackCodes({.format = WeightFormat::kInt8, .group_size = 64}, 72, codes.data(), packed.data());
  codes.resize(128);
  EXPECT_EQ(packed, codes);
}

TEST(QuantizedLayout, HoldsMixtralsExpertsInTheBitsPerWeightThatFormatsPromise) {
  const auto bits = [](const Quantization& quantization) {
    return 8.0 * static_cast<double>(MakeQuantizedLayout(quantization, 28672, 4096).bytes) / (28672.0 * 4096);
  };
  EXPECT_NEAR(bits(kNf4Double), 4 + 8.0 / 64 + 3 * 32.0 / 4096, 1e-4);
  EXPECT_NEAR(bits(kInt4), 4 + 16.0 / 128, 1e-4);
  EXPECT_NEAR(bits({.format = WeightFormat::kInt4, .group_size = 64, .has_zeros = true}), 4 + 24.0 / 64, 1e-4);
  EXPECT_NEAR(bits({.format = WeightFormat::kNf4, .group_size = 64}), 4 + 32.0 / 64, 1e-4);
  EXPECT_NEAR(bits({.format = WeightFormat::kInt8, .group_size = 128}), 8 + 16.0 / 128, 1e-4);
}

TEST(QuantizedLayout, AlignsPartsAndLetsThemFollowEachOther) {
  Quantization quantization = kNf4Double;
  quantization.reordered = true;
  const QuantizedLayout layout = MakeQuantizedLayout(quantization, 3, 320);
  EXPECT_EQ(layout.padded_columns, 384);
  EXPECT_EQ(layout.groups, 6);
  EXPECT_EQ(layout.nested_scales, 2);  // of 5 groups
  EXPECT_EQ(layout.codes, 0u);
  EXPECT_EQ(layout.scales, 768u);  // 3 * 192 bytes
  EXPECT_EQ(layout.nested_scale, 1024u);
  EXPECT_EQ(layout.nested_offset, 1280u);
  EXPECT_EQ(layout.nested_change, 1536u);
  EXPECT_EQ(layout.column_place, 1792u);
  EXPECT_EQ(layout.bytes, 1792u + 1280u);
  EXPECT_EQ(QuantizedBytes(quantization, 3, 320, 5), 5 * layout.bytes + 1024);
  EXPECT_EQ(QuantizedBytes(quantization, 3, 320, 0), 0u);
}

}  // namespace
}  // namespace switchyard::cuda
