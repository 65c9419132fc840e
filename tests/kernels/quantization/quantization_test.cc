#include "kernels/quantization/quantization.h"

#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

TEST(QuantizationRecipe, HasTheNameThatItIsParsedFrom) {
  for (const char* name :
       {"none", "nf4", "int4", "int4-g64", "int4-asym", "int4-g64-asym", "int8", "int8-g64", "int8-g128"}) {
    const absl::StatusOr<QuantizationRecipe> recipe = ParseQuantizationRecipe(name);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    EXPECT_EQ(Name(*recipe), name);
    EXPECT_TRUE(ValidateQuantization(recipe->stored, 4096).ok()) << name;
  }
  // The group that it has anyway.
  for (const auto& [text, name] : {std::pair("int4-g128", "int4"), std::pair("int4-g128-asym", "int4-asym")}) {
    EXPECT_EQ(Name(ParseQuantizationRecipe(text).value()), name);
  }
}

TEST(QuantizationRecipe, MeansWhatItsNameSays) {
  const auto stored = [](const char* name) { return ParseQuantizationRecipe(name).value().stored; };
  EXPECT_TRUE(stored("none").is_dense());
  EXPECT_EQ(stored("nf4"), (Quantization{.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}));
  EXPECT_EQ(stored("int4"), (Quantization{.format = WeightFormat::kInt4, .group_size = 128}));
  EXPECT_EQ(stored("int4-g64-asym"),
            (Quantization{.format = WeightFormat::kInt4, .group_size = 64, .has_zeros = true}));
  EXPECT_EQ(stored("int8-g64"), (Quantization{.format = WeightFormat::kInt8, .group_size = 64}));
  EXPECT_TRUE(ParseQuantizationRecipe("int8")->per_channel);
  EXPECT_FALSE(ParseQuantizationRecipe("int8-g128")->per_channel);
  EXPECT_EQ(ParseQuantizationRecipe("int8")->stored, stored("int8-g128"));
}

TEST(QuantizationRecipe, ListsTheNamesThereAre) {
  for (const char* text : {"", "fp4", "NF4", "nf4-g64", "nf4-asym", "none-g64", "int4-", "int4-g32", "int4-asym-g64",
                           "int8-asym", "int8-g64-asym", "int4-asym-asym", "int4-g64-g64", " int4"}) {
    const absl::Status status = ParseQuantizationRecipe(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("\"") + text + "\" is no quantisation"));
    for (const char* name : {"none", "nf4", "int4-g64-asym", "int8-g128"}) {
      EXPECT_TRUE(absl::StrContains(status.message(), name)) << name;
    }
  }
}

TEST(ValidateQuantization, RefusesWhatNoBackendHolds) {
  const Quantization nf4 = {.format = WeightFormat::kNf4, .group_size = 64};
  EXPECT_TRUE(ValidateQuantization({}, 17).ok());
  EXPECT_TRUE(ValidateQuantization(nf4, 192).ok());
  EXPECT_TRUE(ValidateQuantization({.format = WeightFormat::kInt4, .group_size = 128}, 100).ok());
  EXPECT_TRUE(ValidateQuantization({.format = WeightFormat::kInt8, .group_size = 64, .reordered = true}, 7).ok());

  const auto expect_refused = [](const Quantization& quantization, const char* what) {
    const absl::Status status = ValidateQuantization(quantization, 100);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << Describe(quantization);
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  expect_refused(nf4, "a multiple of 64 wide, not 100");
  expect_refused({.format = WeightFormat::kNf4, .group_size = 128}, "nf4 in groups of 128 is not supported");
  expect_refused({.format = WeightFormat::kNf4, .group_size = 64, .has_zeros = true}, "not supported");
  expect_refused({.format = WeightFormat::kInt4, .group_size = 32}, "not supported");
  expect_refused({.format = WeightFormat::kInt4, .group_size = 0}, "not supported");
  expect_refused({.format = WeightFormat::kInt8, .group_size = 64, .double_quantized = true}, "not supported");
}

TEST(Quantization, CountsGroupsAndBytes) {
  const Quantization int4 = {.format = WeightFormat::kInt4, .group_size = 64};
  EXPECT_EQ(int4.NumGroups(64), 1);
  EXPECT_EQ(int4.NumGroups(65), 2);
  EXPECT_EQ(int4.CodeBytes(65), 33);
  EXPECT_EQ(int4.default_zero(), 8);
  const Quantization int8 = {.format = WeightFormat::kInt8, .group_size = 128};
  EXPECT_EQ(int8.NumGroups(129), 2);
  EXPECT_EQ(int8.CodeBytes(65), 65);
  EXPECT_EQ(int8.default_zero(), 128);
}

TEST(Quantization, IsDescribedForPeople) {
  EXPECT_EQ(Describe({}), "dense");
  EXPECT_EQ(Describe(ParseQuantizationRecipe("nf4")->stored), "nf4 in groups of 64, double quantised");
  Quantization reordered = ParseQuantizationRecipe("int4-asym")->stored;
  reordered.reordered = true;
  EXPECT_EQ(Describe(reordered), "int4 in groups of 128, asymmetric, act-order");
}

}  // namespace
}  // namespace switchyard
