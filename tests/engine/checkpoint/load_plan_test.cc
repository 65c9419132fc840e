// Which form each weight gets, from what the files hold and what the user asks for.
#include "engine/checkpoint/load_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "engine/checkpoint/quantization_config.h"
#include "tests/engine/checkpoint/loaded_weights.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DecoderSpec Spec() {
  return {.model_type = "mixtral",
          .vocab_size = 64,
          .hidden_size = 256,
          .num_layers = 1,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 64,
          .num_experts = 4,
          .experts_per_token = 2,
          .expert_intermediate_size = 192};
}

QuantizationConfig Gptq(int64_t group_size, bool act_order) {
  return {.place = "config.json: quantization_config",
          .storage = WeightStorage::kGptq,
          .group_size = group_size,
          .act_order = act_order};
}

LoadPlan PlanOf(const DecoderSpec& spec, const WeightMap& weights, const WeightShard& shard,
                const QuantizationChoices& quantize = {}) {
  return MakeLoadPlan(spec, weights, quantize, shard);
}

WeightMap Imagine(const DecoderSpec& spec, const QuantizationConfig* quantization) {
  auto map = WeightMap::Imagine(spec, NamingOf(spec.model_type), quantization);
  EXPECT_TRUE(map.ok()) << map.status();
  return *std::move(map);
}

TEST(LoadPlan, QuantisedFilesAreHeldAsTheyAre) {
  const DecoderSpec spec = Spec();
  const QuantizationConfig config = Gptq(64, /*act_order=*/false);
  const WeightMap weights = Imagine(spec, &config);
  for (const WeightShard& shard : {WholeModel(spec), SecondHalf(spec)}) {
    const LoadPlan plan = PlanOf(spec, weights, shard);
    const Quantization expected{.format = WeightFormat::kInt4, .group_size = 64};
    EXPECT_TRUE(plan.layers[0].qkv.quantization == expected);
    EXPECT_TRUE(plan.layers[0].attention_output.quantization == expected);
    EXPECT_TRUE(plan.layers[0].experts[0].down.quantization == expected);
    EXPECT_TRUE(plan.layers[0].router.quantization.is_dense());
    EXPECT_TRUE(plan.embedding.quantization.is_dense());
    EXPECT_THAT(plan.warnings, IsEmpty());
    EXPECT_TRUE(plan.layers[0].qkv.slices[0].is_read_whole);
    EXPECT_FALSE(plan.layers[0].router.slices[0].is_read_whole);
  }
}

// One group a row: 256 columns are groups of 128, 192 are groups of 64; experts need one size.
TEST(LoadPlan, ExpertsWhoseGroupsDifferShareTheSmaller) {
  const DecoderSpec spec = Spec();
  const QuantizationConfig config = Gptq(-1, /*act_order=*/false);
  const WeightMap weights = Imagine(spec, &config);
  const LoadPlan plan = PlanOf(spec, weights, WholeModel(spec));
  EXPECT_EQ(plan.layers[0].qkv.quantization.group_size, 128);
  EXPECT_EQ(plan.layers[0].experts[3].gate_up.quantization.group_size, 64);
  EXPECT_EQ(plan.layers[0].experts[3].down.quantization.group_size, 64);
  EXPECT_THAT(plan.warnings, IsEmpty());
}

TEST(LoadPlan, ShareOfColumnsInActOrderIsDequantised) {
  const DecoderSpec spec = Spec();
  const QuantizationConfig config = Gptq(64, /*act_order=*/true);
  const WeightMap weights = Imagine(spec, &config);
  const LoadPlan whole = PlanOf(spec, weights, WholeModel(spec));
  EXPECT_TRUE(whole.layers[0].attention_output.quantization.reordered);
  EXPECT_THAT(whole.warnings, IsEmpty());
  const LoadPlan half = PlanOf(spec, weights, SecondHalf(spec));
  EXPECT_TRUE(half.layers[0].attention_output.quantization.is_dense());
  EXPECT_TRUE(half.layers[0].attention_output.slices[0].is_read_whole);
  EXPECT_TRUE(half.layers[0].qkv.quantization.reordered);
  EXPECT_TRUE(half.layers[0].experts[0].gate_up.quantization.reordered);
  EXPECT_THAT(half.warnings,
              ElementsAre(AllOf(HasSubstr("o_proj.weight' is held unquantised"), HasSubstr("act-order"))));
}

TEST(LoadPlan, RoutersThatAreQuantisedInTheFileAreDequantised) {
  DecoderSpec spec = Spec();
  const QuantizationConfig config{.place = "config.json: quantization_config",
                                  .storage = WeightStorage::kBitsAndBytes,
                                  .group_size = 64,
                                  .double_quantized = true};
  const WeightMap weights = Imagine(spec, &config);
  ASSERT_FALSE(weights.Find(WeightRole::kRouter).is_dense());
  const LoadPlan plan = PlanOf(spec, weights, WholeModel(spec));
  const StackedSlices& router = plan.layers[0].router;
  EXPECT_TRUE(router.quantization.is_dense());
  EXPECT_TRUE(router.recipe.is_dense());
  EXPECT_TRUE(router.dtype == spec.weight_dtype);
  EXPECT_TRUE(router.slices[0].is_read_whole);
  EXPECT_FALSE(plan.layers[0].qkv.quantization.is_dense());
  EXPECT_THAT(plan.warnings, IsEmpty());
}

// Heads 0 to 8 and 8 to 12 of 12: a nested block may end within the first share's groups of a row.
TEST(LoadPlan, UnequalSharesOfDoubleQuantisedColumnsHavePlainScalesWhereNestedOnesDoNotFit) {
  DecoderSpec spec = Spec();
  spec.num_heads = spec.num_kv_heads = 12;
  const WeightMap weights = Imagine(spec, nullptr);
  const QuantizationRecipe nf4 = *ParseQuantizationRecipe("nf4");
  for (const auto& [begin, end, fit] : {std::tuple(0, 8, false), std::tuple(8, 12, true)}) {
    WeightShard shard = WholeModel(spec);
    shard.head_begin = shard.kv_head_begin = begin;
    shard.head_end = shard.kv_head_end = end;
    const LoadPlan plan = PlanOf(spec, weights, shard, {.attention = nf4});
    EXPECT_TRUE(plan.layers[0].attention_output.quantization.format == WeightFormat::kNf4);
    EXPECT_EQ(plan.layers[0].attention_output.quantization.double_quantized, fit);
    EXPECT_TRUE(plan.layers[0].attention_output.slices[0].is_read_whole);
    EXPECT_TRUE(plan.layers[0].qkv.quantization.double_quantized);
    EXPECT_THAT(plan.warnings, IsEmpty());
  }
}

TEST(LoadPlan, StackedTensorsInDifferentFormsAreDense) {
  const TensorLocation dense{.name = "up", .shape = {8, 128}};
  TensorLocation quantized{.name = "gate", .shape = {8, 128}};
  quantized.storage = WeightStorage::kAwq;
  quantized.quantization = {.format = WeightFormat::kInt4, .group_size = 128, .has_zeros = true};
  const auto slice = [](const TensorLocation& tensor) {
    return TensorSlice{.tensor = &tensor, .row_end = tensor.rows(), .column_end = tensor.columns()};
  };
  DenseFallbacks fallbacks;
  EXPECT_TRUE(Stack({slice(quantized), slice(dense)}, {}, fallbacks).quantization.is_dense());
  EXPECT_THAT(fallbacks.Sentences(), ElementsAre(AllOf(HasSubstr("'gate' is held"), HasSubstr("stacked with 'up'"),
                                                       HasSubstr("is dense"), HasSubstr("asymmetric"))));
  // The dense one becomes what the other is, if the recipe says so.
  QuantizationRecipe recipe{.stored = quantized.quantization};
  const StackedSlices same = Stack({slice(quantized), slice(dense)}, recipe, fallbacks);
  EXPECT_TRUE(same.quantization == quantized.quantization);
  EXPECT_TRUE(same.recipe == recipe);
  EXPECT_TRUE(same.slices[0].is_read_whole);
  EXPECT_FALSE(same.slices[1].is_read_whole);
}

TEST(LoadPlan, QuantisingWhatIsQuantisedIsRefusedByFlag) {
  const DecoderSpec spec = Spec();
  const QuantizationConfig config = Gptq(64, /*act_order=*/true);
  const WeightMap weights = Imagine(spec, &config);
  const QuantizationRecipe nf4 = *ParseQuantizationRecipe("nf4");
  const absl::Status experts = CheckChoices(spec, weights, {.experts = nf4, .attention = nf4});
  EXPECT_EQ(experts.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(experts.message()),
              AllOf(HasSubstr("--quantize nf4: "), HasSubstr("experts.0.w1.weight'"),
                    HasSubstr("int4 in groups of 64, act-order"), HasSubstr("--quantize none")));
  EXPECT_THAT(std::string(CheckChoices(spec, weights, {.attention = nf4}).message()),
              HasSubstr("--quantize-attention nf4: "));
  // Embeddings are dense in the files.
  EXPECT_TRUE(CheckChoices(spec, weights, {.embeddings = nf4}).ok());
  const LoadPlan plan = PlanOf(spec, weights, WholeModel(spec), {.embeddings = nf4});
  EXPECT_TRUE(plan.embedding.quantization == nf4.stored);
  EXPECT_TRUE(plan.layers[0].qkv.quantization.reordered);
}

}  // namespace
}  // namespace switchyard
