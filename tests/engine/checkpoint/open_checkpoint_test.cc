// Well-formed model directories, and what Open makes of their oddities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/loader.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/recording_file.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OpenCheckpointTest : public ::testing::Test {
 protected:
  void Write(const SyntheticCheckpointOptions& options) {
    const absl::Status written = WriteSyntheticCheckpoint(options, directory_.path());
    ASSERT_TRUE(written.ok()) << written;
  }
  std::string File(const std::string& name) const { return directory_.File(name); }
  std::unique_ptr<Checkpoint> Open() const {
    auto checkpoint = Checkpoint::Open(directory_.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
  }

  TemporaryDirectory directory_;
};

TEST_F(OpenCheckpointTest, BundledModelOpensWithoutWarnings) {
  const std::string directory = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";
  const auto checkpoint = Checkpoint::Open(directory);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->directory(), directory);
  EXPECT_EQ((*checkpoint)->spec().num_experts, 8);
  EXPECT_EQ((*checkpoint)->spec().vocab_size, 2048);
  EXPECT_FLOAT_EQ((*checkpoint)->spec().rope_inv_freq[16], 0.01f);  // theta 10000, head_dim 64
  EXPECT_THAT((*checkpoint)->generation_defaults().eos_token_ids, ElementsAre(2));
  EXPECT_THAT((*checkpoint)->warnings(), IsEmpty());
}

TEST_F(OpenCheckpointTest, WholeModelIsAsLargeAsItsTensors) {
  const auto checkpoint = Checkpoint::Open(SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const WeightShard whole{.head_end = 4, .kv_head_end = 2, .experts = {0, 1, 2, 3, 4, 5, 6, 7}};
  EXPECT_EQ((*checkpoint)->BytesOf(whole), 16273920);  // metadata.total_size of its index
}

TEST_F(OpenCheckpointTest, ReadsHeadersOnly) {
  Write({.vocab_size = 4096, .num_files = 4});
  ReadRecord record;
  const auto checkpoint = OpenCheckpoint(directory_.path(), record.Opener());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (int file = 1; file <= 4; ++file) {
    const std::string path = File(absl::StrCat("model-0000", file, "-of-00004.safetensors"));
    const std::string bytes = ReadBytes(path);
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
    const auto data_begin = static_cast<int64_t>(8 + header_bytes);
    EXPECT_EQ(record.BytesWithin(path, 0, data_begin), data_begin);
    EXPECT_EQ(record.BytesWithin(path, data_begin, static_cast<int64_t>(bytes.size())), 0);
  }
}

TEST_F(OpenCheckpointTest, GenerationConfigIsOptional) {
  Write({});
  std::filesystem::remove(File("generation_config.json"));
  const auto checkpoint = Open();
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_THAT(checkpoint->generation_defaults().eos_token_ids, IsEmpty());
  EXPECT_THAT(checkpoint->spec().eos_token_ids, ElementsAre(2));
}

TEST_F(OpenCheckpointTest, KnownLeftoversAreSilentAndOthersAreNamed) {
  Write({});
  AppendTensor(File("model.safetensors"), "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {4}, 16);
  EXPECT_THAT(Open()->warnings(), IsEmpty());
  AppendTensor(File("model.safetensors"), "model.layers.0.adapter.weight", "I8", {3}, 3);
  const auto checkpoint = Open();
  ASSERT_THAT(checkpoint->warnings(), SizeIs(1));
  EXPECT_THAT(checkpoint->warnings()[0], HasSubstr("model.safetensors: tensor 'model.layers.0.adapter.weight'"));
}

TEST_F(OpenCheckpointTest, ManyLeftoversAreCounted) {
  Write({});
  for (int i = 0; i < 20; ++i) AppendTensor(File("model.safetensors"), absl::StrCat("lora.", i), "U8", {1}, 1);
  const auto checkpoint = Open();
  ASSERT_THAT(checkpoint->warnings(), SizeIs(9));
  EXPECT_THAT(checkpoint->warnings().back(), HasSubstr("12 further tensors"));
}

TEST_F(OpenCheckpointTest, HeadOfATiedModelIsIgnoredByName) {
  Write({});
  EditJson(File("config.json"), [](auto& config) { config["tie_word_embeddings"] = true; });
  const auto checkpoint = Open();
  ASSERT_THAT(checkpoint->warnings(), SizeIs(1));
  EXPECT_THAT(checkpoint->warnings()[0], HasSubstr("'lm_head.weight'"));
}

TEST_F(OpenCheckpointTest, TotalSizeOfTheIndexIsOnlyAWarning) {
  Write({.num_files = 2});
  EditJson(File("model.safetensors.index.json"), [](auto& index) { index["metadata"]["total_size"] = 5; });
  const auto checkpoint = Open();
  ASSERT_THAT(checkpoint->warnings(), SizeIs(1));
  EXPECT_THAT(checkpoint->warnings()[0], HasSubstr("metadata.total_size is 5 but the tensors have "));
}

TEST_F(OpenCheckpointTest, WarningsOfTheConfigAreAmongThem) {
  Write({});
  EditJson(File("config.json"), [](auto& config) { config["mystery"] = 1; });
  EXPECT_THAT(Open()->warnings(), ElementsAre(HasSubstr("config.json: \"mystery\"")));
}

TEST_F(OpenCheckpointTest, SyntheticWeightsDoNotDependOnTheNumberOfFiles) {
  Write({.num_files = 1});
  const std::vector<float> one =
      ReferenceFiles(directory_.path()).Read("model.layers.1.self_attn.o_proj.weight").values;
  TemporaryDirectory other;
  ASSERT_TRUE(WriteSyntheticCheckpoint({.num_files = 3}, other.path()).ok());
  EXPECT_EQ(ReferenceFiles(other.path()).Read("model.layers.1.self_attn.o_proj.weight").values, one);
  EXPECT_TRUE(Checkpoint::Open(other.path()).ok());
}

}  // namespace
}  // namespace switchyard
