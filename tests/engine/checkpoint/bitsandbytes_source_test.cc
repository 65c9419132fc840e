// Weights that bitsandbytes packed, in the neutral form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/engine/checkpoint/source_vectors.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kFile[] = "bitsandbytes.safetensors";
constexpr char kState[] = ".weight.quant_state.bitsandbytes__nf4";
const std::vector<int64_t> kNested = {100, 192};
const std::vector<int64_t> kPlain = {8, 128};

QuantizationConfig ConfigOf(bool double_quantized) {
  return ParseConfig({{"quant_method", "bitsandbytes"},
                      {"load_in_4bit", true},
                      {"bnb_4bit_quant_type", "nf4"},
                      {"bnb_4bit_use_double_quant", double_quantized}});
}

std::string Refusal(const SourceVectors& vectors, const std::string& name, const std::vector<int64_t>& shape) {
  const absl::Status status = vectors.Read(name, shape, ConfigOf(name == "nested")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(BitsAndBytesSource, IsTheSameAsTheLibrarys) {
  SourceVectors vectors(kFile);
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read("plain", kPlain, ConfigOf(false));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->quantization, (Quantization{.format = WeightFormat::kNf4, .group_size = 64}));
  ExpectSameAsLibrary(vectors, "plain", *tensor);
}

TEST(BitsAndBytesSource, DoubleQuantisedIsTheSameAsTheLibrarys) {
  SourceVectors vectors(kFile);
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read("nested", kNested, ConfigOf(true));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->quantization,
            (Quantization{.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}));
  ExpectSameAsLibrary(vectors, "nested", *tensor);
}

// Three groups a row: row 85 begins at group 255, the last that shares the first nested scale.
TEST(BitsAndBytesSource, NestedScalesAmountToTheScales) {
  SourceVectors vectors(kFile);
  const absl::StatusOr<QuantizedTensor> tensor = vectors.Read("nested", kNested, ConfigOf(true));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  const ScaleArrays& scales = tensor->scales;
  const std::vector<float> file_scales = vectors.Get<float>("nested.weight.nested_absmax");
  ASSERT_EQ(file_scales.size(), size_t{2});
  EXPECT_EQ(scales.nested_change[0], 256);
  EXPECT_EQ(scales.nested_change[85], 1);
  EXPECT_EQ(scales.nested_change[86], 254);
  const int64_t width = NumNestedScales(3);
  ASSERT_EQ(scales.nested_scales.size(), static_cast<size_t>(100 * width));
  EXPECT_EQ(scales.nested_scales[static_cast<size_t>(85 * width)], file_scales[0]);
  EXPECT_EQ(scales.nested_scales[static_cast<size_t>(85 * width + 1)], file_scales[1]);
  EXPECT_EQ(scales.nested_scales[static_cast<size_t>(86 * width)], file_scales[1]);
  for (int64_t row = 0; row < 100; ++row) {
    for (int64_t g = 0; g < 3; ++g) {
      const auto at = static_cast<size_t>(row * 3 + g);
      const int64_t change = scales.nested_change[static_cast<size_t>(row)];
      const int64_t nested = g < change ? 0 : 1 + (g - change) / 256;
      const float value =
          DynamicMap()[scales.nested_codes[at]] * scales.nested_scales[static_cast<size_t>(row * width + nested)] +
          scales.nested_offsets[static_cast<size_t>(row)];
      EXPECT_EQ(scales.values[at], value) << row << ", " << g;
    }
  }
}

TEST(BitsAndBytesSource, OtherTablesAreRefused) {
  SourceVectors nf4(kFile);
  nf4.Set<float>("plain.weight.quant_map", 3, -0.39491752f);
  EXPECT_THAT(Refusal(nf4, "plain", kPlain), StartsWith("dir/0: tensor 'plain.weight.quant_map' has -0.394918 at 3;"));
  SourceVectors nan(kFile);
  nan.Set<uint32_t>("plain.weight.quant_map", 15, 0x7FC00000);
  EXPECT_THAT(Refusal(nan, "plain", kPlain), HasSubstr("has nan at 15; there it must have 1"));
  SourceVectors dynamic(kFile);
  dynamic.Set<float>("nested.weight.nested_quant_map", 255, 0.99f);
  EXPECT_THAT(Refusal(dynamic, "nested", kNested), HasSubstr("nested_quant_map' has 0.99 at 255"));
}

TEST(BitsAndBytesSource, RoundingOfTheDynamicMapDoesNotMatter) {
  SourceVectors vectors(kFile);
  vectors.Set<float>("nested.weight.nested_quant_map", 254, 0.99296885f);  // one unit in the last place
  EXPECT_TRUE(vectors.Read("nested", kNested, ConfigOf(true)).ok());
}

TEST(BitsAndBytesSource, ScaleThatIsNotFiniteIsRefused) {
  SourceVectors vectors(kFile);
  vectors.Set<uint32_t>("plain.weight.absmax", 2, 0x7F800000);
  EXPECT_THAT(Refusal(vectors, "plain", kPlain), HasSubstr("plain.weight.absmax' has inf at 2"));
  vectors.Set<uint32_t>("nested.weight.nested_absmax", 1, 0x7F800000);
  EXPECT_THAT(Refusal(vectors, "nested", kNested), HasSubstr("nested.weight.nested_absmax' has inf at 1"));
}

TEST(BitsAndBytesSource, AnyStateIsReadOrRefused) {
  std::mt19937 random(1);
  for (int attempt = 0; attempt < 500; ++attempt) {
    SourceVectors vectors(kFile);
    const std::string state = std::string("nested") + kState;
    const auto size = static_cast<size_t>(vectors.Entry(state).shape[0]);
    for (int byte = 0; byte <= attempt % 4; ++byte) {
      vectors.Set<char>(state, random() % size, "0123456789eE+-.\"{}[],:\\\xFF"[random() % 25]);
    }
    const absl::Status status = vectors.Read("nested", kNested, ConfigOf(true)).status();
    if (status.ok()) continue;
    EXPECT_THAT(std::string(status.message()), StartsWith("dir/0: tensor 'nested.weight.quant_state."));
  }
}

struct BadState {
  std::string name;
  std::string text;
  std::string named;
};

void PrintTo(const BadState& kind, std::ostream* out) { *out << kind.name; }

class BadStateTest : public ::testing::TestWithParam<BadState> {};

TEST_P(BadStateTest, IsRefusedByName) {
  SourceVectors vectors(kFile);
  vectors.Remove(std::string("nested") + kState);
  const std::string& text = GetParam().text;
  vectors.Add(std::string("nested") + kState, "U8", {static_cast<int64_t>(text.size())}, text);
  const std::string message = Refusal(vectors, "nested", kNested);
  EXPECT_THAT(message, StartsWith("dir/0: tensor 'nested.weight.quant_state.bitsandbytes__nf4' "));
  EXPECT_THAT(message, HasSubstr(GetParam().named));
}

const BadState kStates[] = {
    {"NotJson", "{quant_type", "is no state: it: "},
    {"NoObject", "[64]", "is no state: it"},
    {"Fp4", R"({"quant_type": "fp4"})", "quant_type is 'fp4'; it must be 'nf4'"},
    {"NoType", R"({"blocksize": 64})", "quant_type is ''"},
    {"NoBlock", R"({"quant_type": "nf4"})", "blocksize is missing"},
    {"Block", R"({"quant_type": "nf4", "blocksize": 128})", "blocksize is 128; only 64 is read"},
    {"BlockText", R"({"quant_type": "nf4", "blocksize": "64"})", "blocksize is \"64\"; it must be a whole number"},
    {"NoShape", R"({"quant_type": "nf4", "blocksize": 64})", "shape is missing; it must be [100, 192]"},
    {"Shape", R"({"quant_type": "nf4", "blocksize": 64, "shape": [192, 100]})", "shape is [192,100]; it must be"},
    {"NoNested", R"({"quant_type": "nf4", "blocksize": 64, "shape": [100, 192]})", "nested_blocksize is missing"},
    {"Nested", R"({"quant_type": "nf4", "blocksize": 64, "shape": [100, 192], "nested_blocksize": 64})",
     "nested_blocksize is 64; only 256 is read"},
    {"NoOffset", R"({"quant_type": "nf4", "blocksize": 64, "shape": [100, 192], "nested_blocksize": 256})",
     "nested_offset is missing"},
    {"Offset",
     R"({"quant_type": "nf4", "blocksize": 64, "shape": [100, 192], "nested_blocksize": 256, "nested_offset": 1e300})",
     "nested_offset is 1e+300; it must be a number"},
};

INSTANTIATE_TEST_SUITE_P(States, BadStateTest, ::testing::ValuesIn(kStates),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace switchyard
