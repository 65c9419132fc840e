// --quantize: dense weights that become quantised while they are read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/checkpoint/loader.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/fake_backend.h"
#include "tests/engine/checkpoint/loaded_weights.h"
#include "tests/engine/checkpoint/recording_file.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

QuantizationRecipe Recipe(const std::string& name) { return *ParseQuantizationRecipe(name); }

QuantizationChoices Everything(const std::string& name) {
  return {.experts = Recipe(name), .attention = Recipe(name), .embeddings = Recipe(name)};
}

// 4 heads of 32: half of them are 64 columns. 192 columns are no whole groups of 128.
constexpr SyntheticCheckpointOptions kModel = {.vocab_size = 64, .hidden_size = 128, .intermediate_size = 192};

class QuantizedLoadTest : public ::testing::Test {
 protected:
  void Write(const SyntheticCheckpointOptions& options) {
    const absl::Status written = WriteSyntheticCheckpoint(options, directory());
    ASSERT_TRUE(written.ok()) << written;
  }
  const std::string& directory() const { return directory_.path(); }
  std::unique_ptr<Checkpoint> Open(const QuantizationChoices& quantize) const {
    auto checkpoint = Checkpoint::Open(directory(), quantize);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
  }
  ModelWeights Load(const Checkpoint& checkpoint, const WeightShard& shard, const LoadOptions& options = {}) {
    auto weights = checkpoint.Load(shard, backend_, {}, options);
    EXPECT_TRUE(weights.ok()) << weights.status();
    return weights.ok() ? *std::move(weights) : ModelWeights();
  }

  TemporaryDirectory directory_;
  FakeBackend backend_;
};

class EveryRecipe : public QuantizedLoadTest, public ::testing::WithParamInterface<std::string> {};

// What every rank holds of 1, 2 and 3 ranks, heads whole or divided.
std::vector<WeightShard> ShardsOf(const DecoderSpec& spec) {
  const WeightShard whole = WholeModel(spec);
  WeightShard third = whole;
  third.experts = {3};
  WeightShard first_half = whole;
  first_half.head_end = first_half.head_end / 2;
  first_half.kv_head_end = first_half.kv_head_end / 2;
  first_half.experts = {0, 1};
  return {whole, third, first_half, SecondHalf(spec)};
}

TEST_P(EveryRecipe, EveryRankHoldsItsPartOfTheTensorsQuantisedWhole) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    SyntheticCheckpointOptions model = kModel;
    model.dtype = dtype;
    model.num_files = 2;
    Write(model);
    const QuantizationChoices choices = Everything(GetParam());
    const auto checkpoint = Open(choices);
    for (const WeightShard& shard : ShardsOf(checkpoint->spec())) {
      SCOPED_TRACE(absl::StrCat(Name(dtype), ", heads from ", shard.head_begin, " to ", shard.head_end));
      EXPECT_THAT(checkpoint->WarningsOf(shard), IsEmpty());
      ModelWeights weights = Load(*checkpoint, shard);
      ExpectSameAsFiles(directory(), checkpoint->spec(), shard, weights, choices);
      EXPECT_TRUE(weights.layers[0].experts->spec().down == choices.experts.stored);
      EXPECT_TRUE(weights.layers[0].experts->spec().gate_up == choices.experts.stored);
      EXPECT_TRUE(weights.layers[0].router->spec().quantization.is_dense());
    }
  }
}

TEST_P(EveryRecipe, BlocksAndThreadsMakeNoDifference) {
  Write(kModel);
  const QuantizationChoices choices = Everything(GetParam());
  const auto checkpoint = Open(choices);
  const WeightShard shard = SecondHalf(checkpoint->spec());
  for (const int64_t block_bytes : {1, 700, 5000}) {
    ModelWeights weights = Load(*checkpoint, shard, {.num_threads = 4, .block_bytes = block_bytes});
    ExpectSameAsFiles(directory(), checkpoint->spec(), shard, weights, choices);
  }
}

TEST_P(EveryRecipe, ReadsEveryByteOnceAndAsManyAsPlanned) {
  Write(kModel);
  ReadRecord record;
  const auto checkpoint = OpenCheckpoint(directory(), record.Opener(), Everything(GetParam()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const WeightShard& shard : ShardsOf((*checkpoint)->spec())) {
    record.Clear();
    Load(**checkpoint, shard, {.num_threads = 2, .block_bytes = 1000});
    EXPECT_TRUE(record.IsWithoutOverlap());
    EXPECT_EQ(record.total(), (*checkpoint)->BytesOf(shard));
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, EveryRecipe,
                         ::testing::Values("nf4", "int4", "int4-g64", "int4-asym", "int4-g64-asym", "int8", "int8-g64",
                                           "int8-g128"),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{"-", "_"}});
                         });

TEST_F(QuantizedLoadTest, EachKindOfWeightFollowsItsOwnChoice) {
  Write(kModel);
  const QuantizationChoices choices = {.experts = Recipe("nf4"), .attention = Recipe("int8")};
  const auto checkpoint = Open(choices);
  const WeightShard shard = WholeModel(checkpoint->spec());
  ModelWeights weights = Load(*checkpoint, shard);
  ExpectSameAsFiles(directory(), checkpoint->spec(), shard, weights, choices);
  EXPECT_TRUE(weights.embedding->spec().quantization.is_dense());
  EXPECT_TRUE(weights.layers[1].qkv->spec().quantization == choices.attention.stored);
  EXPECT_TRUE(weights.layers[1].attention_output->spec().quantization == choices.attention.stored);
}

TEST_F(QuantizedLoadTest, SharesOfColumnsAreHeldInSmallerGroups) {
  Write(kModel);
  const auto checkpoint = Open(Everything("int4-asym"));
  const ModelWeights weights = Load(*checkpoint, SecondHalf(checkpoint->spec()));
  EXPECT_EQ(weights.layers[0].attention_output->spec().quantization.group_size, 64);
  EXPECT_EQ(weights.layers[0].qkv->spec().quantization.group_size, 128);
}

// Rows of 12 groups, of which 8 may lie in two nested blocks (NestedScalesFit).
TEST_F(QuantizedLoadTest, UnequalSharesOfDoubleQuantisedRowsHoldTheSameValues) {
  SyntheticCheckpointOptions model = kModel;
  model.num_heads = model.num_kv_heads = 12;
  model.head_dim = 64;
  Write(model);
  const QuantizationChoices choices = Everything("nf4");
  const auto checkpoint = Open(choices);
  for (const auto& [begin, end] : {std::pair(0, 8), std::pair(8, 12), std::pair(2, 6)}) {
    WeightShard shard = WholeModel(checkpoint->spec());
    shard.head_begin = shard.kv_head_begin = begin;
    shard.head_end = shard.kv_head_end = end;
    ModelWeights weights = Load(*checkpoint, shard, {.num_threads = 2, .block_bytes = 1000});
    ExpectSameAsFiles(directory(), checkpoint->spec(), shard, weights, choices);
    EXPECT_EQ(weights.layers[0].attention_output->spec().quantization.double_quantized, begin == 8);
  }
}

TEST_F(QuantizedLoadTest, SharesThatCutGroupsStayDenseWithAWarning) {
  SyntheticCheckpointOptions model = kModel;
  model.head_dim = 24;
  Write(model);
  const auto checkpoint = Open(Everything("int4"));
  EXPECT_THAT(checkpoint->WarningsOf(WholeModel(checkpoint->spec())), IsEmpty());
  const WeightShard half = SecondHalf(checkpoint->spec());
  EXPECT_THAT(checkpoint->WarningsOf(half),
              ::testing::ElementsAre(AllOf(HasSubstr("'model.layers.0.self_attn.o_proj.weight' and 1 more are held"),
                                           HasSubstr("48 to 96"), HasSubstr("groups of 64"))));
  const ModelWeights weights = Load(*checkpoint, half);
  const MatrixSpec& spec = weights.layers[0].attention_output->spec();
  EXPECT_TRUE(spec.quantization.is_dense());
  EXPECT_TRUE(spec.dtype == DType::kBFloat16);
  EXPECT_EQ(ValuesOf(*weights.layers[0].attention_output),
            ReferenceFiles(directory()).Read("model.layers.0.self_attn.o_proj.weight").Part(0, 128, 48, 96));
  EXPECT_FALSE(weights.layers[0].qkv->spec().quantization.is_dense());
}

TEST_F(QuantizedLoadTest, ExpertsOfWidthsThatNf4CannotHoldStayDenseTogether) {
  SyntheticCheckpointOptions model = kModel;
  model.intermediate_size = 96;
  Write(model);
  const auto checkpoint = Open(Everything("nf4"));
  const WeightShard shard = WholeModel(checkpoint->spec());
  ModelWeights weights = Load(*checkpoint, shard);
  EXPECT_TRUE(weights.layers[0].experts->spec().gate_up.is_dense());
  EXPECT_TRUE(weights.layers[0].experts->spec().down.is_dense());
  EXPECT_THAT(checkpoint->WarningsOf(shard),
              ::testing::UnorderedElementsAre(AllOf(HasSubstr("w2.weight' and 7 more are"), HasSubstr("96")),
                                              AllOf(HasSubstr("w1.weight' and 7 more are"), HasSubstr("alike"))));
  const QuantizationChoices others = {.attention = Recipe("nf4"), .embeddings = Recipe("nf4")};
  ExpectSameAsFiles(directory(), checkpoint->spec(), shard, weights, others);
}

// The scales of a share depend on all rows; of the other formats a rank reads its rows.
TEST_F(QuantizedLoadTest, ShareOfHeadsReadsAllRowsOfDoubleQuantisedTensorsOnly) {
  Write(kModel);
  const auto bytes = [&](const std::string& recipe, bool whole) {
    const auto checkpoint = Open({.attention = Recipe(recipe)});
    WeightShard shard = whole ? WholeModel(checkpoint->spec()) : SecondHalf(checkpoint->spec());
    shard.experts.clear();
    return checkpoint->BytesOf(shard);
  };
  EXPECT_EQ(bytes("nf4", false), bytes("nf4", true));
  EXPECT_LT(bytes("int4", false), bytes("int4", true));
  EXPECT_EQ(bytes("int4", false), bytes("none", false));
}

TEST_F(QuantizedLoadTest, WeightThatIsNotFiniteIsNamed) {
  Write(kModel);
  const std::string path = directory_.File("model.safetensors");
  std::string file = ReadBytes(path);
  EditHeader(path, [&](const auto& header) {
    size_t last = 0;  // byte of the data section
    for (const auto& [name, entry] : header.items()) {
      if (name != "__metadata__") last = std::max(last, entry["data_offsets"][1].template get<size_t>());
    }
    const auto& entry = header["model.layers.1.block_sparse_moe.experts.2.w3.weight"];
    const size_t at = file.size() - last + entry["data_offsets"][0].template get<size_t>() + 7 * 128 * 2;
    file[at] = static_cast<char>(0x80);
    file[at + 1] = static_cast<char>(0x7F);  // infinity
  });
  WriteBytes(path, file);
  const auto checkpoint = Open(Everything("int4"));
  const auto weights = checkpoint->Load(WholeModel(checkpoint->spec()), backend_, {});
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(weights.status().message()),
              AllOf(StartsWith(path + ": tensor 'model.layers.1.block_sparse_moe.experts.2.w3.weight': row 7: "),
                    HasSubstr("not finite")));
}

TEST_F(QuantizedLoadTest, FullDeviceWhileFillingIsReported) {
  Write(kModel);
  const auto checkpoint = Open(Everything("nf4"));
  for (const int fills : {0, 1, 5, 17}) {
    FakeBackend broken({.fills = fills});
    const auto weights = checkpoint->Load(WholeModel(checkpoint->spec()), broken, {}, {.num_threads = 2});
    EXPECT_THAT(std::string(weights.status().message()),
                AllOf(HasSubstr("model.safetensors: tensor '"), HasSubstr("fallen off the bus")));
  }
}

TEST_F(QuantizedLoadTest, DummyWeightsHaveTheSameForms) {
  Write(kModel);
  const QuantizationChoices choices = {.experts = Recipe("int4"), .attention = Recipe("nf4")};
  const auto files = Open(choices);
  const auto dummy = Checkpoint::OpenConfig(directory(), choices);
  ASSERT_TRUE(dummy.ok()) << dummy.status();
  for (const WeightShard& shard : ShardsOf(files->spec())) {
    ModelWeights loaded = Load(*files, shard);
    ModelWeights random = Load(**dummy, shard);
    const std::vector<Matrix*> expected = MatricesOf(loaded);
    const std::vector<Matrix*> found = MatricesOf(random);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_TRUE(found[i]->spec().quantization == expected[i]->spec().quantization);
    }
  }
}

}  // namespace
}  // namespace switchyard
