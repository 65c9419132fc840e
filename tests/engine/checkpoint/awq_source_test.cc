// Weights that AutoAWQ packed, in the neutral form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/engine/checkpoint/source_vectors.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "awq.safetensors";

QuantizationConfig ConfigOf(int64_t group_size, bool zero_point = true) {
  return ParseConfig({{"quant_method", "awq"}, {"bits", 4}, {"group_size", group_size}, {"zero_point", zero_point}});
}

struct Case {
  std::string name;
  std::vector<int64_t> shape;
  int64_t group_size = 0;
  bool zero_point = true;
  int64_t neutral_group = 0;  // in memory
};

void PrintTo(const Case& kind, std::ostream* out) { *out << kind.name; }

class AwqSourceTest : public ::testing::TestWithParam<Case> {};

TEST_P(AwqSourceTest, IsTheSameAsTheLibrarys) {
  SourceVectors vectors(kFile);
  const Case& kind = GetParam();
  const absl::StatusOr<QuantizedTensor> tensor =
      vectors.Read(kind.name, kind.shape, ConfigOf(kind.group_size, kind.zero_point));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  const Quantization expected{
      .format = WeightFormat::kInt4, .group_size = kind.neutral_group, .has_zeros = kind.zero_point};
  EXPECT_EQ(tensor->quantization, expected);
  ExpectSameAsLibrary(vectors, kind.name, *tensor);
}

INSTANTIATE_TEST_SUITE_P(Cases, AwqSourceTest,
                         ::testing::Values(Case{"asym_g128", {96, 256}, 128, true, 128},
                                           Case{"asym_g64", {32, 192}, 64, true, 64},
                                           Case{"asym_channel", {32, 192}, -1, true, 64},
                                           Case{"sym_g128", {32, 128}, 128, false, 128}),
                         [](const auto& info) { return info.param.name; });

TEST(AwqSource, ZeroPointThatTheConfigDeniesIsRefused) {
  SourceVectors vectors(kFile);
  vectors.Set<uint32_t>("sym_g128.qzeros", 1, 0x88878888);  // the fifth code from below is the second output's
  const absl::Status status = vectors.Read("sym_g128", {32, 128}, ConfigOf(128, false)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "dir/0: tensor 'sym_g128.qzeros' has the zero point 7 in group 0 of output 9, but the config says that all "
            "are 8: set zero_point to true there");
}

TEST(AwqSource, GroupsMustFillTheRow) {
  EXPECT_THAT(
      SourceVectors(kFile).Locate("asym_g64", {32, 192}, ConfigOf(128)).status().message(),
      HasSubstr("asym_g64.qweight' cannot be 4-bit awq of [32, 192] in groups of 128: its sides do not divide"));
}

TEST(AwqSource, ScaleThatIsNotFiniteIsRefused) {
  SourceVectors vectors(kFile);
  vectors.Set<uint16_t>("asym_g64.scales", 0, 0xFC00);
  EXPECT_THAT(vectors.Read("asym_g64", {32, 192}, ConfigOf(64)).status().message(),
              HasSubstr("asym_g64.scales' has -inf at 0"));
}

TEST(AwqSource, BiasMustBeZero) {
  SourceVectors vectors(kFile);
  vectors.Add("asym_g64.bias", "BF16", {32}, std::string(64, '\0'));
  EXPECT_TRUE(vectors.Read("asym_g64", {32, 192}, ConfigOf(64)).ok());
  vectors.Set<uint16_t>("asym_g64.bias", 3, 0x3F80);
  EXPECT_THAT(vectors.Read("asym_g64", {32, 192}, ConfigOf(64)).status().message(),
              HasSubstr("asym_g64.bias' has 1 at 3"));
}

}  // namespace
}  // namespace switchyard
