#include "engine/checkpoint/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/fake_backend.h"
#include "tests/engine/checkpoint/loaded_weights.h"
#include "tests/engine/checkpoint/recording_file.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<float> Whole(const std::string& directory, const std::string& name) {
  return ReferenceFiles(directory).Read(name).values;
}

void ExpectLoads(const std::string& directory, const std::function<WeightShard(const DecoderSpec&)>& shard_of) {
  const auto checkpoint = Checkpoint::Open(directory);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const WeightShard shard = shard_of((*checkpoint)->spec());
  FakeBackend backend;
  auto weights = (*checkpoint)->Load(shard, backend, {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  ExpectSameAsFiles(directory, (*checkpoint)->spec(), shard, *weights);
}

class LoadBundledModels : public ::testing::TestWithParam<std::string> {
 protected:
  std::string directory() const { return absl::StrCat(SWITCHYARD_SOURCE_DIR, "/", GetParam()); }
};

TEST_P(LoadBundledModels, WholeModelHasEveryValueOfTheFiles) { ExpectLoads(directory(), WholeModel); }
TEST_P(LoadBundledModels, ShardHasItsHeadsAndItsExpertsInSlotOrder) { ExpectLoads(directory(), SecondHalf); }

INSTANTIATE_TEST_SUITE_P(Models, LoadBundledModels,
                         ::testing::Values("models/tiny-mixtral", "tests/golden/top1-of-4-switch",
                                           "tests/golden/top2-of-8", "tests/golden/top3-of-6"),
                         [](const auto& info) {
                           std::string name = std::filesystem::path(info.param).filename();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class LoaderTest : public ::testing::Test {
 protected:
  void Write(const SyntheticCheckpointOptions& options) {
    const absl::Status written = WriteSyntheticCheckpoint(options, directory());
    ASSERT_TRUE(written.ok()) << written;
  }
  const std::string& directory() const { return directory_.path(); }
  std::string File(const std::string& name) const { return directory_.File(name); }

  TemporaryDirectory directory_;
  FakeBackend backend_;
};

TEST_F(LoaderTest, ReadsEveryElementTypeExactly) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    SCOPED_TRACE(Name(dtype));
    Write({.dtype = dtype});
    ExpectLoads(directory(), SecondHalf);
    const auto weights = (*Checkpoint::Open(directory()))
                             ->Load(SecondHalf({.num_heads = 4, .num_kv_heads = 2, .num_experts = 4}), backend_, {});
    EXPECT_TRUE(weights->layers[0].qkv->spec().dtype == dtype);
    EXPECT_TRUE(weights->layers[0].experts->spec().dtype == dtype);
  }
}

TEST_F(LoaderTest, SharedEmbeddingIsReadOnce) {
  Write({.tie_word_embeddings = true});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const WeightShard shard = WholeModel((*checkpoint)->spec());
  auto weights = (*checkpoint)->Load(shard, backend_, {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->embedding, weights->lm_head);
  ExpectSameAsFiles(directory(), (*checkpoint)->spec(), shard, *weights);
  const auto data_bytes = static_cast<int64_t>(ReadBytes(File("model.safetensors")).size());
  EXPECT_LT((*checkpoint)->BytesOf(shard), data_bytes);
  EXPECT_GT((*checkpoint)->BytesOf(shard), data_bytes - 8192);  // all but the header
}

TEST_F(LoaderTest, TensorsOfDifferentTypesFuseAsFloat32) {
  Write({.num_layers = 1});
  // The same bits under another name of the same width: other values, which the reference reads as well.
  EditHeader(File("model.safetensors"), [](auto& header) {
    header["model.layers.0.self_attn.k_proj.weight"]["dtype"] = "F16";
    header["model.layers.0.block_sparse_moe.experts.1.w2.weight"]["dtype"] = "F16";
    header["model.norm.weight"]["dtype"] = "F16";
  });
  ExpectLoads(directory(), WholeModel);
  const auto checkpoint = Checkpoint::Open(directory());
  const auto weights = (*checkpoint)->Load(WholeModel((*checkpoint)->spec()), backend_, {});
  EXPECT_TRUE(weights->layers[0].qkv->spec().dtype == DType::kFloat32);
  EXPECT_TRUE(weights->layers[0].experts->spec().dtype == DType::kFloat32);
  EXPECT_TRUE(weights->layers[0].attention_output->spec().dtype == DType::kBFloat16);
}

TEST_F(LoaderTest, HeadDimNeedNotBeHiddenOverHeads) {
  Write({.head_dim = 6});
  ExpectLoads(directory(), WholeModel);
  ExpectLoads(directory(), SecondHalf);
}

TEST_F(LoaderTest, RankWithoutExpertsHasAnEmptySetOfThem) {
  Write({});
  ExpectLoads(directory(), [](const DecoderSpec& spec) {
    WeightShard shard = WholeModel(spec);
    shard.experts.clear();
    return shard;
  });
}

TEST_F(LoaderTest, RankReadsOnlyItsExpertsAndHeads) {
  Write({.num_files = 3});
  ReadRecord record;
  const auto checkpoint = OpenCheckpoint(directory(), record.Opener());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  record.Clear();
  const DecoderSpec& spec = (*checkpoint)->spec();
  WeightShard shard{.head_begin = 2, .head_end = 4, .kv_head_begin = 1, .kv_head_end = 2, .experts = {1, 3}};
  ASSERT_TRUE((*checkpoint)->Load(shard, backend_, {}).ok());
  EXPECT_EQ(record.total(), (*checkpoint)->BytesOf(shard));

  for (int file = 1; file <= 3; ++file) {
    const std::string path = File(absl::StrCat("model-0000", file, "-of-00003.safetensors"));
    EditHeader(path, [&](const auto& header) {
      const auto data_begin = static_cast<int64_t>(8 + header.dump().size());
      for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__") continue;
        const bool foreign =
            name.find("experts.0.") != std::string::npos || name.find("experts.2.") != std::string::npos;
        const bool halved = name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos ||
                            name.find("v_proj") != std::string::npos;
        // The writer pads headers with spaces; offsets below are those of the file as it was read.
        const auto padding = (8 - (data_begin % 8)) % 8;
        const int64_t begin = data_begin + padding + entry["data_offsets"][0].template get<int64_t>();
        const int64_t end = data_begin + padding + entry["data_offsets"][1].template get<int64_t>();
        const int64_t share = foreign ? 0 : (halved ? (end - begin) / 2 : end - begin);
        EXPECT_EQ(record.BytesWithin(path, begin, end), share) << name;
      }
    });
  }
  EXPECT_EQ(spec.num_experts, 4);
}

TEST_F(LoaderTest, RanksTogetherReadEveryExpertOnce) {
  Write({.num_experts = 5});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  WeightShard none = WholeModel((*checkpoint)->spec());
  none.experts.clear();
  const int64_t shared = (*checkpoint)->BytesOf(none);
  int64_t experts = 0;
  for (const std::vector<int>& owned : {std::vector<int>{0, 1}, {2, 3}, {4}}) {
    WeightShard shard = none;
    shard.experts = owned;
    experts += (*checkpoint)->BytesOf(shard) - shared;
  }
  EXPECT_EQ(shared + experts, (*checkpoint)->BytesOf(WholeModel((*checkpoint)->spec())));
}

TEST_F(LoaderTest, ReadsInBlocksOfMegabytesAndReportsEveryByte) {
  Write({.vocab_size = 5000, .hidden_size = 512, .num_layers = 1, .dtype = DType::kFloat32});
  ReadRecord record;
  const auto checkpoint = OpenCheckpoint(directory(), record.Opener());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  record.Clear();
  const WeightShard shard = WholeModel((*checkpoint)->spec());
  int64_t last = 0;
  const auto weights = (*checkpoint)->Load(shard, backend_, [&](const LoadProgress& progress) {
    EXPECT_GT(progress.bytes_read, last);
    EXPECT_EQ(progress.bytes_total, (*checkpoint)->BytesOf(shard));
    last = progress.bytes_read;
  });
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(last, (*checkpoint)->BytesOf(shard));
  EXPECT_EQ(record.largest(), 8 << 20);
  EXPECT_EQ(ValuesOf(*weights->embedding), Whole(directory(), "model.embed_tokens.weight"));
}

TEST_F(LoaderTest, FileTruncatedAfterOpenIsNamedWithItsTensor) {
  Write({});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::filesystem::resize_file(File("model.safetensors"), 20000);
  const auto weights = (*checkpoint)->Load(WholeModel((*checkpoint)->spec()), backend_, {});
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(
      std::string(weights.status().message()),
      AllOf(StartsWith(File("model.safetensors") + ": tensor 'model.layers."), HasSubstr(" bytes could be read")));
}

TEST_F(LoaderTest, FileReplacedByRenameDoesNotDisturbAnOpenCheckpoint) {
  Write({.seed = 1});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::vector<float> before = Whole(directory(), "lm_head.weight");
  std::filesystem::remove(File("model.safetensors"));
  Write({.seed = 2});
  const auto weights = (*checkpoint)->Load(WholeModel((*checkpoint)->spec()), backend_, {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(ValuesOf(*weights->lm_head), before);
  EXPECT_NE(Whole(directory(), "lm_head.weight"), before);
}

TEST_F(LoaderTest, FullDeviceIsReportedBeforeAnyByteIsRead) {
  Write({});
  ReadRecord record;
  const auto checkpoint = OpenCheckpoint(directory(), record.Opener());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  record.Clear();
  const WeightShard shard = WholeModel((*checkpoint)->spec());
  int allowed = 0;
  for (;; ++allowed) {
    FakeBackend small({.allocations = allowed});
    const auto weights = (*checkpoint)->Load(shard, small, {});
    if (weights.ok()) break;
    EXPECT_EQ(weights.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(weights.status().message()), AllOf(HasSubstr("memory for "), HasSubstr("no room for ")));
    EXPECT_EQ(record.total(), 0);
  }
  // Embedding, head and final norm, and of each of 2 layers 2 norms, 3 matrices and the experts.
  EXPECT_EQ(allowed, 3 + 2 * 6);
}

TEST_F(LoaderTest, RanksLoadConcurrentlyFromOneCheckpoint) {
  Write({.num_files = 2});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const DecoderSpec& spec = (*checkpoint)->spec();
  std::vector<absl::StatusOr<ModelWeights>> loaded(4);
  std::vector<FakeBackend> backends(4);
  std::vector<WeightShard> shards;
  for (int rank = 0; rank < 4; ++rank) {
    shards.push_back(WholeModel(spec));
    shards.back().experts = {rank};
  }
  {
    std::vector<std::jthread> threads;
    for (size_t rank = 0; rank < 4; ++rank) {
      threads.emplace_back([&, rank] { loaded[rank] = (*checkpoint)->Load(shards[rank], backends[rank], {}); });
    }
  }
  for (size_t rank = 0; rank < 4; ++rank) {
    ASSERT_TRUE(loaded[rank].ok()) << loaded[rank].status();
    ExpectSameAsFiles(directory(), spec, shards[rank], *loaded[rank]);
  }
}

}  // namespace
}  // namespace switchyard
