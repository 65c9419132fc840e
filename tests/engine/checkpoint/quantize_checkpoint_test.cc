// A checkpoint quantised once is what --quantize makes of the original while loading.
#include "engine/checkpoint/writer/quantize_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/checkpoint/manifest.h"
#include "kernels/cpu/host_weights.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/fake_backend.h"
#include "tests/engine/checkpoint/loaded_weights.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr SyntheticCheckpointOptions kModel = {
    .vocab_size = 64, .hidden_size = 128, .intermediate_size = 192, .num_experts = 3, .num_files = 2};

QuantizationRecipe Recipe(const std::string& name) { return *ParseQuantizationRecipe(name); }

// Rows of all weights, as the reference backend multiplies with them.
std::vector<float> RowsOf(ModelWeights& weights) {
  std::vector<float> values;
  for (const Matrix* matrix : MatricesOf(weights)) {
    const HostMatrix& host = HostMatrix::From(*matrix);
    std::vector<float> row(static_cast<size_t>(host.spec().in_features));
    for (int64_t i = 0; i < host.spec().out_features; ++i) {
      host.ConvertRow(i, row.data());
      values.insert(values.end(), row.begin(), row.end());
    }
  }
  for (const Tensor* norm : NormsOf(weights)) {
    const std::vector<float> row = ValuesOf(*norm);
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

std::string ShaOfFile(const std::string& path) {
  const std::string bytes = ReadBytes(path);
  return Sha256Of(std::as_bytes(std::span(bytes)));
}

class QuantizeCheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::Status written = WriteSyntheticCheckpoint(kModel, model());
    ASSERT_TRUE(written.ok()) << written;
  }
  std::string model() const { return directory_.File("model"); }
  std::string out() const { return directory_.File("out"); }
  QuantizeOptions Options(const std::string& format) const {
    return {.model_dir = model(),
            .out_dir = out(),
            .quantize = {.experts = Recipe(format), .attention = Recipe(format)},
            .sync = false,
            .num_threads = 3};
  }
  absl::Status Quantize(const QuantizeOptions& options) { return QuantizeCheckpoint(options, {}, {}).status(); }
  // All that lies beside the model, so that leftovers show.
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_.path())) names.push_back(entry.path().filename());
    return names;
  }

  TemporaryDirectory directory_;
};

class EveryFormat : public QuantizeCheckpointTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(EveryFormat, LoadsAsTheSameWeightsBitForBit) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    for (const bool embeddings : {false, true}) {
      SCOPED_TRACE(absl::StrCat(Name(dtype), embeddings ? ", embeddings too" : ""));
      SyntheticCheckpointOptions options = kModel;
      options.dtype = dtype;
      fs::remove_all(model());
      fs::remove_all(out());
      ASSERT_TRUE(WriteSyntheticCheckpoint(options, model()).ok());
      QuantizeOptions quantize = Options(GetParam());
      if (embeddings) quantize.quantize.embeddings = quantize.quantize.experts;
      ASSERT_EQ(Quantize(quantize), absl::OkStatus());

      const auto expected = Checkpoint::Open(model(), quantize.quantize);
      const auto found = Checkpoint::Open(out());
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_THAT((*found)->warnings(), IsEmpty());
      for (const WeightShard& shard : {WholeModel((*found)->spec()), SecondHalf((*found)->spec())}) {
        EXPECT_THAT((*found)->WarningsOf(shard), IsEmpty());
        const auto backend = CreateCpuBackend({.reference = true});
        auto a = (*expected)->Load(shard, *backend, {});
        auto b = (*found)->Load(shard, *backend, {}, {.num_threads = 2});
        ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
        EXPECT_EQ(RowsOf(*a), RowsOf(*b));
        EXPECT_TRUE(b->layers[0].qkv->spec().quantization.format == quantize.quantize.attention.stored.format);
        EXPECT_EQ(b->embedding->spec().quantization.is_dense(), !embeddings);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat,
                         ::testing::Values("nf4", "int4", "int4-g64", "int4-asym", "int4-g64-asym", "int8", "int8-g64",
                                           "int8-g128"),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{"-", "_"}});
                         });

TEST_F(QuantizeCheckpointTest, ShardsAreNoLargerThanAskedAndIndexed) {
  QuantizeOptions options = Options("nf4");
  options.max_shard_bytes = 60'000;
  ASSERT_EQ(Quantize(options), absl::OkStatus());
  const auto index = nlohmann::json::parse(ReadBytes(out() + "/model.safetensors.index.json"));
  std::set<std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) files.insert(file.get<std::string>());
  EXPECT_GT(files.size(), 2u);
  for (const std::string& file : files) {
    EXPECT_LT(fs::file_size(out() + "/" + file), 60'000u + 20'000u) << file;  // and its header
  }
  EXPECT_THAT(files, Contains(absl::StrCat("model-00001-of-0000", files.size(), ".safetensors")));
  EXPECT_TRUE(Checkpoint::Open(out()).ok());
}

TEST_F(QuantizeCheckpointTest, BitsAndBytesConfigNamesWhatStaysDense) {
  QuantizeOptions options = Options("nf4");
  options.quantize.attention = {};
  ASSERT_EQ(Quantize(options), absl::OkStatus());
  const auto before = nlohmann::json::parse(ReadBytes(model() + "/config.json"));
  auto after = nlohmann::json::parse(ReadBytes(out() + "/config.json"));
  const nlohmann::json quantization = after["quantization_config"];
  EXPECT_EQ(quantization["quant_method"], "bitsandbytes");
  EXPECT_EQ(quantization["load_in_4bit"], true);
  EXPECT_EQ(quantization["bnb_4bit_quant_type"], "nf4");
  EXPECT_EQ(quantization["bnb_4bit_use_double_quant"], true);
  const auto skipped = quantization["llm_int8_skip_modules"].get<std::vector<std::string>>();
  EXPECT_THAT(skipped, AllOf(Contains("lm_head"), Contains("model.layers.1.block_sparse_moe.gate"),
                             Contains("model.layers.0.self_attn.o_proj"),
                             Not(Contains("model.layers.0.block_sparse_moe.experts.0.w1"))));
  after.erase("quantization_config");
  EXPECT_EQ(after, before);
}

TEST_F(QuantizeCheckpointTest, GptqConfigStatesTheForm) {
  ASSERT_EQ(Quantize(Options("int4-g64-asym")), absl::OkStatus());
  const auto config = nlohmann::json::parse(ReadBytes(out() + "/config.json"))["quantization_config"];
  EXPECT_EQ(config["quant_method"], "gptq");
  EXPECT_EQ(config["bits"], 4);
  EXPECT_EQ(config["group_size"], 64);
  EXPECT_EQ(config["sym"], false);
  EXPECT_EQ(config["desc_act"], false);
  EXPECT_EQ(config["checkpoint_format"], "gptq");
  EXPECT_EQ(config["lm_head"], false);
  const auto modules = config["modules_in_block_to_quantize"].get<std::vector<std::vector<std::string>>>();
  EXPECT_EQ(modules.size(), 4u + 3 * 3);
  EXPECT_THAT(modules, AllOf(Contains(std::vector<std::string>{"self_attn.q_proj"}),
                             Contains(std::vector<std::string>{"block_sparse_moe.experts.2.w2"})));
}

TEST_F(QuantizeCheckpointTest, OtherFilesAreCopiedAndForeignWeightsAreNot) {
  WriteBytes(model() + "/tokenizer.json", "{\"a\": 1}");
  WriteBytes(model() + "/README.md", std::string(3 << 20, 'x'));
  WriteBytes(model() + "/pytorch_model.bin", "old");
  WriteBytes(model() + "/model.safetensors.index.json.bak", "kept");
  fs::create_directory(model() + "/.cache");
  ASSERT_EQ(Quantize(Options("int8")), absl::OkStatus());
  EXPECT_EQ(ReadBytes(out() + "/tokenizer.json"), "{\"a\": 1}");
  EXPECT_EQ(ReadBytes(out() + "/README.md"), ReadBytes(model() + "/README.md"));
  EXPECT_TRUE(fs::exists(out() + "/generation_config.json"));
  EXPECT_FALSE(fs::exists(out() + "/pytorch_model.bin"));
  EXPECT_FALSE(fs::exists(out() + "/.cache"));
  EXPECT_FALSE(fs::exists(out() + "/model.safetensors.index.json"));  // all fits one file
}

TEST_F(QuantizeCheckpointTest, ManifestHasTheChecksumOfEveryFile) {
  QuantizeOptions options = Options("nf4");
  options.max_shard_bytes = 100'000;
  ASSERT_EQ(Quantize(options), absl::OkStatus());
  const std::string path = out() + "/" + std::string(kManifestName);
  const absl::StatusOr<Manifest> manifest = ParseManifest(path, ReadBytes(path));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  size_t num_files = 0;
  for (const auto& entry : fs::directory_iterator(out())) {
    const std::string name = entry.path().filename();
    if (name == kManifestName) continue;
    ++num_files;
    ASSERT_TRUE(manifest->contains(name)) << name;
    EXPECT_EQ(manifest->at(name).bytes, static_cast<int64_t>(entry.file_size()));
    EXPECT_EQ(manifest->at(name).sha256, ShaOfFile(entry.path()));
  }
  EXPECT_EQ(manifest->size(), num_files);
}

// Any byte of a header, of a norm, and of dense and quantised weights.
TEST_F(QuantizeCheckpointTest, LoadingNoticesAnyDamagedByte) {
  QuantizeOptions options = Options("nf4");
  ASSERT_EQ(Quantize(options), absl::OkStatus());
  const std::string path = out() + "/model.safetensors";
  const std::string sound = ReadBytes(path);
  FakeBackend backend;
  for (size_t at = 9; at < sound.size(); at += sound.size() / 31) {
    std::string damaged = sound;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    WriteBytes(path, damaged);
    const auto checkpoint = Checkpoint::Open(out());
    const absl::Status status = checkpoint.ok()
                                    ? (*checkpoint)->Load(WholeModel((*checkpoint)->spec()), backend, {}).status()
                                    : checkpoint.status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << at;
    EXPECT_THAT(std::string(status.message()), AllOf(StartsWith(path), HasSubstr("SHA-256"))) << at;
  }
}

TEST_F(QuantizeCheckpointTest, ReportsProgressToTheLastByte) {
  QuantizeOptions options = Options("int4");
  options.max_shard_bytes = 60'000;
  LoadProgress last;
  const auto summary = QuantizeCheckpoint(options,
                                          [&](const LoadProgress& progress) {
                                            EXPECT_GT(progress.bytes_read, last.bytes_read);
                                            EXPECT_GE(progress.shard, last.shard);
                                            EXPECT_LT(progress.shard, progress.num_shards);
                                            last = progress;
                                          },
                                          {});
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(last.bytes_read, last.bytes_total);
  EXPECT_EQ(last.bytes_read, summary->bytes_read);
  EXPECT_EQ(last.shard, last.num_shards - 1);
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(out())) bytes += static_cast<int64_t>(entry.file_size());
  EXPECT_EQ(summary->bytes_written, bytes);
}

TEST_F(QuantizeCheckpointTest, RefusesADirectoryThatHoldsSomething) {
  fs::create_directory(out());
  EXPECT_EQ(Quantize(Options("nf4")), absl::OkStatus());  // it was empty
  const std::string before = ReadBytes(out() + "/config.json");
  const absl::Status status = Quantize(Options("int4"));
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), StartsWith(out()));
  EXPECT_EQ(ReadBytes(out() + "/config.json"), before);
  EXPECT_THAT(Entries(), ::testing::UnorderedElementsAre("model", "out"));
}

TEST_F(QuantizeCheckpointTest, RefusesWhatOneCheckpointCannotState) {
  QuantizeOptions options = Options("nf4");
  options.quantize.attention = Recipe("int8");
  EXPECT_THAT(std::string(Quantize(options).message()),
              AllOf(HasSubstr("--quantize-attention int8"), HasSubstr("--format nf4")));
  EXPECT_EQ(Quantize(Options("none")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Entries(), ::testing::ElementsAre("model"));
}

TEST_F(QuantizeCheckpointTest, RefusesWhatIsQuantisedAlready) {
  ASSERT_EQ(Quantize(Options("nf4")), absl::OkStatus());
  QuantizeOptions again = Options("int4");
  again.model_dir = out();
  again.out_dir = directory_.File("again");
  const absl::Status status = Quantize(again);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(StartsWith(out() + "/config.json"), HasSubstr("bitsandbytes")));
  EXPECT_FALSE(fs::exists(again.out_dir));
}

TEST_F(QuantizeCheckpointTest, WeightsThatGptqCannotPackAreNamed) {
  SyntheticCheckpointOptions odd = kModel;
  odd.vocab_size = 61;
  ASSERT_TRUE(WriteSyntheticCheckpoint(odd, model()).ok());
  QuantizeOptions options = Options("int4");
  options.quantize.embeddings = options.quantize.experts;
  const absl::Status status = Quantize(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("tensor '"), HasSubstr("[61, 128]"), HasSubstr("of 8")));
}

TEST_F(QuantizeCheckpointTest, FullDiskIsReportedAndLeavesNothingBehind) {
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {.rlim_cur = 50'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = Quantize(Options("nf4"));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("model.safetensors"), HasSubstr("bytes")));
  EXPECT_THAT(Entries(), ::testing::ElementsAre("model"));
}

TEST_F(QuantizeCheckpointTest, FailedReadLeavesNothingBehind) {
  const std::string shard = model() + "/model-00002-of-00002.safetensors";
  std::string file = ReadBytes(shard);
  EditHeader(shard, [&](const auto& header) {
    int64_t end = 0;
    for (const auto& [name, entry] : header.items()) {
      if (name != "__metadata__") end = std::max(end, entry["data_offsets"][1].template get<int64_t>());
    }
    const auto& entry = header["model.layers.1.block_sparse_moe.experts.1.w1.weight"];
    const size_t at = file.size() - static_cast<size_t>(end - entry["data_offsets"][0].template get<int64_t>());
    file[at] = file[at + 1] = static_cast<char>(0xFF);  // not a number
  });
  WriteBytes(shard, file);
  const absl::Status status = Quantize(Options("int8"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              StartsWith(shard + ": tensor 'model.layers.1.block_sparse_moe.experts.1.w1.weight': row 0: "));
  EXPECT_THAT(Entries(), ::testing::ElementsAre("model"));
}

TEST_F(QuantizeCheckpointTest, CancellationLeavesNothingBehind) {
  int calls = 0;
  const auto summary = QuantizeCheckpoint(Options("int8"), {}, [&calls] { return ++calls > 5; });
  EXPECT_EQ(summary.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(Entries(), ::testing::ElementsAre("model"));
}

TEST_F(QuantizeCheckpointTest, ThreadsMakeNoDifference) {
  QuantizeOptions options = Options("nf4");
  ASSERT_EQ(Quantize(options), absl::OkStatus());
  options.num_threads = 1;
  options.sync = true;
  options.out_dir = directory_.File("alone");
  ASSERT_EQ(Quantize(options), absl::OkStatus());
  EXPECT_EQ(ReadBytes(options.out_dir + "/" + std::string(kManifestName)),
            ReadBytes(out() + "/" + std::string(kManifestName)));
}

}  // namespace
}  // namespace switchyard
