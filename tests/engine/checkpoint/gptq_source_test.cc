// Weights that AutoGPTQ packed, in the neutral form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "tests/engine/checkpoint/source_vectors.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kFile[] = "gptq.safetensors";

struct Case {
  std::string name;
  int64_t rows = 32;
  int64_t columns = 0;
  int64_t bits = 4;
  int64_t group_size = 0;
  bool symmetric = false;
  bool act_order = false;
  std::string format = "gptq";
  int64_t neutral_group = 0;  // in memory
  bool reordered = false;

  QuantizationConfig config() const {
    return ParseConfig({{"quant_method", "gptq"},
                        {"bits", bits},
                        {"group_size", group_size},
                        {"sym", symmetric},
                        {"desc_act", act_order},
                        {"checkpoint_format", format}});
  }
  std::vector<int64_t> shape() const { return {rows, columns}; }
};

void PrintTo(const Case& kind, std::ostream* out) { *out << kind.name; }

const Case kCases[] = {
    {.name = "sym4_g128", .rows = 96, .columns = 256, .group_size = 128, .symmetric = true, .neutral_group = 128},
    {.name = "asym4_g64_act",
     .rows = 96,
     .columns = 256,
     .group_size = 64,
     .act_order = true,
     .neutral_group = 64,
     .reordered = true},
    {.name = "sym8_g128", .columns = 256, .bits = 8, .group_size = 128, .symmetric = true, .neutral_group = 128},
    {.name = "asym8_g64_act",
     .rows = 96,
     .columns = 192,
     .bits = 8,
     .group_size = 64,
     .act_order = true,
     .neutral_group = 64,
     .reordered = true},
    {.name = "asym4_channel_act", .columns = 192, .group_size = -1, .act_order = true, .neutral_group = 64},
    {.name = "sym4_g256_act",
     .columns = 512,
     .group_size = 256,
     .symmetric = true,
     .act_order = true,
     .neutral_group = 128,
     .reordered = true},
    {.name = "asym4_g128_short", .columns = 320, .group_size = 128, .neutral_group = 128},
    {.name = "asym4_g128_v2", .columns = 256, .group_size = 128, .format = "gptq_v2", .neutral_group = 128},
    {.name = "asym4_g128_borrow", .columns = 256, .group_size = 128, .neutral_group = 128},
    {.name = "asym8_g64_borrow", .columns = 128, .bits = 8, .group_size = 64, .neutral_group = 64},
};
const Case& kPlain = kCases[0];
const Case& kSorted = kCases[1];

class GptqSourceTest : public ::testing::TestWithParam<Case> {};

TEST_P(GptqSourceTest, IsTheSameAsTheLibrarys) {
  SourceVectors vectors(kFile);
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read(GetParam().name, GetParam().shape(), GetParam().config());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  const Quantization expected{.format = GetParam().bits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4,
                              .group_size = GetParam().neutral_group,
                              .has_zeros = !GetParam().symmetric,
                              .reordered = GetParam().reordered};
  EXPECT_EQ(tensor->quantization, expected);
  EXPECT_EQ(tensor->rows, GetParam().rows);
  EXPECT_EQ(tensor->columns, GetParam().columns);
  ExpectSameAsLibrary(vectors, GetParam().name, *tensor);
}

INSTANTIATE_TEST_SUITE_P(Cases, GptqSourceTest, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

// The message of an attempt that must be refused.
std::string Refusal(const SourceVectors& vectors, const Case& kind) {
  const absl::Status status = vectors.Read(kind.name, kind.shape(), kind.config()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(GptqSource, PartsMayLieInSeveralShards) {
  SourceVectors vectors(kFile);
  vectors.MoveToSecondShard("asym4_g64_act.scales");
  vectors.MoveToSecondShard("asym4_g64_act.g_idx");
  const absl::StatusOr<TensorLocation> location = vectors.Locate(kSorted.name, kSorted.shape(), kSorted.config());
  ASSERT_TRUE(location.ok()) << location.status();
  EXPECT_EQ(location->file, size_t{0});
  EXPECT_EQ(location->parts.back().file, size_t{1});
  EXPECT_EQ(location->bytes(), 256 / 8 * 96 * 4 + 4 * 96 / 8 * 4 + 4 * 96 * 2 + 256 * 4);
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read(kSorted.name, kSorted.shape(), kSorted.config());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  ExpectSameAsLibrary(vectors, kSorted.name, *tensor);
}

TEST(GptqSource, OrderIsOptionalWithoutActOrder) {
  SourceVectors vectors(kFile);
  vectors.Remove("sym4_g128.g_idx");
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read(kPlain.name, kPlain.shape(), kPlain.config());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  ExpectSameAsLibrary(vectors, kPlain.name, *tensor);
}

TEST(GptqSource, StatedActOrderThatWasNotUsedIsTheIdentity) {
  SourceVectors vectors(kFile);
  Case kind = kPlain;
  kind.act_order = true;
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read(kind.name, kind.shape(), kind.config());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  for (int32_t c = 0; c < 256; ++c) ASSERT_EQ(tensor->order[static_cast<size_t>(c)], c);
}

TEST(GptqSource, GroupOutOfRangeIsRefused) {
  for (const int32_t group : {-1, 4, INT32_MAX, INT32_MIN}) {
    SourceVectors vectors(kFile);
    vectors.Set<int32_t>("asym4_g64_act.g_idx", 5, group);
    EXPECT_EQ(Refusal(vectors, kSorted), "dir/0: tensor 'asym4_g64_act.g_idx' puts column 5 into group " +
                                             std::to_string(group) + "; there are 4");
  }
}

TEST(GptqSource, GroupThatIsTooLargeIsRefused) {
  SourceVectors vectors(kFile);
  const std::vector<int32_t> groups = vectors.Get<int32_t>("asym4_g64_act.g_idx");
  const auto column = std::find(groups.begin(), groups.end(), 2) - groups.begin();
  vectors.Set<int32_t>("asym4_g64_act.g_idx", static_cast<size_t>(column), 3);
  EXPECT_THAT(Refusal(vectors, kSorted), HasSubstr("g_idx' puts more than 64 columns into group 3"));
}

TEST(GptqSource, OrderIsOptionalForOneGroup) {
  SourceVectors vectors(kFile);
  vectors.Remove("asym4_channel_act.g_idx");
  const Case& kind = kCases[4];
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read(kind.name, kind.shape(), kind.config());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  ExpectSameAsLibrary(vectors, kind.name, *tensor);
}

TEST(GptqSource, ActOrderThatTheConfigDeniesIsRefused) {
  SourceVectors vectors(kFile);
  vectors.Set<int32_t>("sym4_g128.g_idx", 127, 1);
  EXPECT_THAT(Refusal(vectors, kPlain),
              HasSubstr("g_idx' puts column 127 into group 1, not 0, but the config says desc_act false"));
}

TEST(GptqSource, ZeroPointThatTheConfigDeniesIsRefused) {
  SourceVectors vectors(kFile);
  vectors.Set<uint32_t>("sym4_g128.qzeros", 13, 0x77777977);  // of the second group
  EXPECT_EQ(Refusal(vectors, kPlain),
            "dir/0: tensor 'sym4_g128.qzeros' has the zero point 10 in group 1 of output 10, but the config says that "
            "all are 8: set sym to false there");
}

TEST(GptqSource, ScaleThatIsNotFiniteIsRefused) {
  for (const uint16_t bits : {uint16_t{0x7C00}, uint16_t{0x7E00}}) {
    SourceVectors vectors(kFile);
    vectors.Set<uint16_t>("sym4_g128.scales", 7, bits);
    EXPECT_THAT(Refusal(vectors, kPlain), StartsWith("dir/0: tensor 'sym4_g128.scales' has "));
  }
}

TEST(GptqSource, BiasMustBeZero) {
  SourceVectors vectors(kFile);
  vectors.Add("sym4_g128.bias", "F16", {96}, std::string(96 * 2, '\0'));
  EXPECT_TRUE(vectors.Read(kPlain.name, kPlain.shape(), kPlain.config()).ok());
  vectors.Set<uint16_t>("sym4_g128.bias", 95, 0x3C00);
  EXPECT_THAT(Refusal(vectors, kPlain), HasSubstr("sym4_g128.bias' has 1 at 95; the model has no biases"));
  vectors.Entry("sym4_g128.bias").shape = {95};
  EXPECT_THAT(Refusal(vectors, kPlain), HasSubstr("sym4_g128.bias' has shape [95] but"));
}

TEST(GptqSource, AnyOrderIsReadOrRefused) {
  std::mt19937 random(1);
  int num_read = 0;
  for (int attempt = 0; attempt < 200; ++attempt) {
    SourceVectors vectors(kFile);
    for (int swap = 0; swap < attempt % 3; ++swap) {
      vectors.Set<int32_t>("asym4_g64_act.g_idx", random() % 256, static_cast<int32_t>(random() % 6) - 1);
    }
    const absl::StatusOr<QuantizedTensor> tensor = vectors.Read(kSorted.name, kSorted.shape(), kSorted.config());
    if (!tensor.ok()) continue;
    ++num_read;
    EXPECT_TRUE(std::is_permutation(tensor->order.begin(), tensor->order.end(),
                                    vectors.Get<int32_t>("asym4_g64_act.expected.order").begin()));
  }
  EXPECT_GE(num_read, 67);
  EXPECT_LT(num_read, 150);
}

TEST(GptqSource, FileThatEndedIsNamedWithItsTensor) {
  SourceVectors vectors(kFile);
  vectors.Add("sym4_g128.bias", "F16", {96}, std::string(96 * 2, '\0'));
  vectors.Truncate(1);
  const absl::Status status = vectors.Read(kPlain.name, kPlain.shape(), kPlain.config()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "dir/0 ends, tensor 'sym4_g128.bias'");
}

}  // namespace
}  // namespace switchyard
