// Checkpoint::OpenConfig: a model of which only the configuration exists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/checkpoint.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/fake_backend.h"
#include "tests/engine/checkpoint/loaded_weights.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class DummyCheckpointTest : public ::testing::Test {
 protected:
  // Leaves config.json and generation_config.json only.
  void WriteConfigs(const SyntheticCheckpointOptions& options) {
    const absl::Status written = WriteSyntheticCheckpoint(options, directory_.path());
    ASSERT_TRUE(written.ok()) << written;
    std::filesystem::remove(directory_.File("model.safetensors"));
  }
  std::unique_ptr<Checkpoint> Open() const {
    auto checkpoint = Checkpoint::OpenConfig(directory_.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
  }
  ModelWeights Load(const Checkpoint& checkpoint, const WeightShard& shard) {
    auto weights = checkpoint.Load(shard, backend_, {});
    EXPECT_TRUE(weights.ok()) << weights.status();
    return *std::move(weights);
  }

  TemporaryDirectory directory_;
  FakeBackend backend_;
};

TEST_F(DummyCheckpointTest, OpensADirectoryWithoutWeightsOrItsConfig) {
  WriteConfigs({.num_layers = 3});
  EditJson(directory_.File("config.json"), [](auto& config) { config["mystery"] = 1; });
  EditJson(directory_.File("generation_config.json"), [](auto& config) { config["top_k"] = 40; });
  EXPECT_FALSE(Checkpoint::Open(directory_.path()).ok());
  for (const std::string& path : {directory_.path(), directory_.File("config.json")}) {
    SCOPED_TRACE(path);
    const auto checkpoint = Checkpoint::OpenConfig(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->directory(), directory_.path());
    EXPECT_EQ((*checkpoint)->spec().num_layers, 3);
    EXPECT_EQ((*checkpoint)->generation_defaults().top_k, 40);
    EXPECT_THAT((*checkpoint)->warnings(), ElementsAre(HasSubstr("config.json: \"mystery\"")));
    EXPECT_EQ((*checkpoint)->BytesOf(WholeModel((*checkpoint)->spec())), 0);
  }
}

TEST_F(DummyCheckpointTest, TakesAnyNameOfTheConfig) {
  WriteConfigs({});
  std::filesystem::rename(directory_.File("config.json"), directory_.File("mixtral-8x7b.json"));
  EXPECT_TRUE(Checkpoint::OpenConfig(directory_.File("mixtral-8x7b.json")).ok());
}

TEST_F(DummyCheckpointTest, LooksAtNoWeightsWhereThereAreSome) {
  WriteConfigs({});
  WriteBytes(directory_.File("model.safetensors"), "not a header");
  EXPECT_FALSE(Checkpoint::Open(directory_.path()).ok());
  EXPECT_NE(Open(), nullptr);
}

TEST_F(DummyCheckpointTest, MissingConfigIsNamed) {
  const auto in_directory = Checkpoint::OpenConfig(directory_.path());
  EXPECT_EQ(in_directory.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(in_directory.status().message()), StartsWith(directory_.File("config.json")));
  const auto file = Checkpoint::OpenConfig(directory_.File("other.json"));
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(file.status().message()), StartsWith(directory_.File("other.json")));
}

TEST_F(DummyCheckpointTest, AbsurdNumberOfExpertsIsRefused) {
  WriteConfigs({});
  EditJson(directory_.File("config.json"), [](auto& config) {
    config["num_hidden_layers"] = 4096;
    config["num_local_experts"] = 4096;
  });
  const absl::Status status = Checkpoint::OpenConfig(directory_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("is 16777216"), HasSubstr("at most 1048576")));
}

TEST_F(DummyCheckpointTest, WeightsHaveTheShapesAndTheTypeOfTheConfig) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    WriteConfigs({.vocab_size = 50, .head_dim = 6, .dtype = dtype});
    const auto checkpoint = Open();
    const ModelWeights weights = Load(*checkpoint, SecondHalf(checkpoint->spec()));
    const MatrixSpec& qkv = weights.layers[1].qkv->spec();
    EXPECT_EQ(qkv.out_features, (2 + 2 * 1) * 6);
    EXPECT_EQ(qkv.in_features, 32);
    EXPECT_TRUE(qkv.dtype == dtype);
    EXPECT_EQ(weights.layers[1].attention_output->spec().in_features, 2 * 6);
    EXPECT_EQ(weights.layers[0].experts->spec().num_experts, 3);
    EXPECT_TRUE(weights.layers[0].experts->spec().dtype == dtype);
    EXPECT_EQ(weights.lm_head->spec().out_features, 50);
  }
}

TEST_F(DummyCheckpointTest, MatricesAreRandomAllDifferentAndNormsOne) {
  WriteConfigs({});
  const auto checkpoint = Open();
  ModelWeights weights = Load(*checkpoint, WholeModel(checkpoint->spec()));
  std::set<std::vector<float>> beginnings;
  const std::vector<Matrix*> matrices = MatricesOf(weights);
  for (const Matrix* matrix : matrices) {
    EXPECT_THAT(ValuesOf(*matrix), Not(Contains(::testing::IsNan())));
    EXPECT_EQ(dynamic_cast<const FakeMatrix*>(matrix)->deviation(), 0.02f);
    beginnings.emplace(ValuesOf(*matrix).begin(), ValuesOf(*matrix).begin() + 16);
  }
  EXPECT_EQ(beginnings.size(), matrices.size());
  for (const Tensor* norm : NormsOf(weights)) EXPECT_THAT(ValuesOf(*norm), Each(1.0f));
}

TEST_F(DummyCheckpointTest, ExpertsAreTheSameForEveryNumberOfRanks) {
  WriteConfigs({});
  const auto checkpoint = Open();
  const WeightShard whole = WholeModel(checkpoint->spec());
  ModelWeights alone = Load(*checkpoint, whole);
  for (const std::vector<int>& owned : {std::vector<int>{0, 1}, {2, 3}, {3, 1}}) {
    WeightShard shard = whole;
    shard.experts = owned;
    ModelWeights rank = Load(*checkpoint, shard);
    EXPECT_EQ(ValuesOf(*rank.embedding), ValuesOf(*alone.embedding));
    EXPECT_EQ(ValuesOf(*rank.layers[1].qkv), ValuesOf(*alone.layers[1].qkv));
    EXPECT_EQ(ValuesOf(*rank.layers[1].router), ValuesOf(*alone.layers[1].router));
    for (int64_t slot = 0; slot < 2; ++slot) {
      const int expert = owned[static_cast<size_t>(slot)];
      ExpertWeights& experts = *rank.layers[1].experts;
      EXPECT_EQ(ValuesOf(experts.gate_up(slot)), ValuesOf(alone.layers[1].experts->gate_up(expert)));
      EXPECT_EQ(ValuesOf(experts.down(slot)), ValuesOf(alone.layers[1].experts->down(expert)));
    }
  }
}

TEST_F(DummyCheckpointTest, SharesOfTheHeadsDiffer) {
  WriteConfigs({});
  const auto checkpoint = Open();
  WeightShard first = WholeModel(checkpoint->spec());
  first.head_end = 2;
  first.kv_head_end = 1;
  const ModelWeights a = Load(*checkpoint, first);
  const ModelWeights b = Load(*checkpoint, SecondHalf(checkpoint->spec()));
  EXPECT_NE(ValuesOf(*a.layers[0].qkv), ValuesOf(*b.layers[0].qkv));
  EXPECT_NE(ValuesOf(*a.layers[0].attention_output), ValuesOf(*b.layers[0].attention_output));
}

TEST_F(DummyCheckpointTest, TiedHeadIsTheEmbedding) {
  WriteConfigs({.tie_word_embeddings = true});
  const auto checkpoint = Open();
  const ModelWeights weights = Load(*checkpoint, WholeModel(checkpoint->spec()));
  EXPECT_EQ(weights.embedding, weights.lm_head);
}

TEST_F(DummyCheckpointTest, FailuresOfTheDeviceNameTheWeight) {
  WriteConfigs({});
  const auto checkpoint = Open();
  const WeightShard shard = WholeModel(checkpoint->spec());
  FakeBackend full({.allocations = 2});
  EXPECT_THAT(std::string(checkpoint->Load(shard, full, {}).status().message()),
              HasSubstr("memory for 'model.norm.weight': no room for "));
  FakeBackend broken({.fills = 3});
  EXPECT_THAT(std::string(checkpoint->Load(shard, broken, {}).status().message()),
              HasSubstr("random numbers for 'model.layers.0.block_sparse_moe.gate.weight': "));
  FakeBackend stuck({.copies = 4});
  EXPECT_THAT(std::string(checkpoint->Load(shard, stuck, {}).status().message()),
              HasSubstr("ones for 'model.norm.weight': "));
}

}  // namespace
}  // namespace switchyard
