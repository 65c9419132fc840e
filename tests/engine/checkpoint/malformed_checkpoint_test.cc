// Model directories broken in one way each. Open must refuse every one of them with a message that names the file, the
// tensor or field, and the two numbers or names that disagree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/checkpoint/checkpoint.h"
#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

constexpr char kSingle[] = "model.safetensors";
constexpr char kFirst[] = "model-00001-of-00002.safetensors";
constexpr char kSecond[] = "model-00002-of-00002.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kQuery[] = "model.layers.0.self_attn.q_proj.weight";
constexpr char kHead[] = "lm_head.weight";

struct MalformedCheckpoint {
  std::string name;
  int num_files;  // 1: model.safetensors, 2: two shards with their index
  std::function<void(const TemporaryDirectory&)> damage;
  std::vector<std::string> named;
};

void PrintTo(const MalformedCheckpoint& kind, std::ostream* out) { *out << kind.name; }

class MalformedCheckpointTest : public ::testing::TestWithParam<MalformedCheckpoint> {};

TEST_P(MalformedCheckpointTest, IsRefusedByName) {
  TemporaryDirectory directory;
  const absl::Status written = WriteSyntheticCheckpoint({.num_files = GetParam().num_files}, directory.path());
  ASSERT_TRUE(written.ok()) << written;
  ASSERT_TRUE(Checkpoint::Open(directory.path()).ok());
  GetParam().damage(directory);
  const absl::Status status = Checkpoint::Open(directory.path()).status();
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  EXPECT_THAT(message, ::testing::HasSubstr(directory.path()));
  for (const std::string& part : GetParam().named) EXPECT_THAT(message, ::testing::HasSubstr(part));
}

using Directory = const TemporaryDirectory&;

std::function<void(Directory)> Header(const std::string& file, const JsonEdit& edit) {
  return [=](Directory directory) { EditHeader(directory.File(file), edit); };
}
std::function<void(Directory)> Json(const std::string& file, const JsonEdit& edit) {
  return [=](Directory directory) { EditJson(directory.File(file), edit); };
}
std::function<void(Directory)> Replace(const std::string& file, const std::string& bytes) {
  return [=](Directory directory) { WriteBytes(directory.File(file), bytes); };
}
std::function<void(Directory)> Remove(const std::string& file) {
  return [=](Directory directory) { std::filesystem::remove(directory.File(file)); };
}
// Cuts, or extends with zeros.
std::function<void(Directory)> Resize(const std::string& file, int change) {
  return [=](Directory directory) {
    const std::string path = directory.File(file);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) + static_cast<uintmax_t>(change));
  };
}

const MalformedCheckpoint kKinds[] = {
    // Files
    {"ConfigMissing", 1, Remove("config.json"), {"config.json: No such file"}},
    {"ConfigIsDirectory",
     1,
     [](Directory d) {
       std::filesystem::remove(d.File("config.json"));
       std::filesystem::create_directory(d.File("config.json"));
     },
     {"config.json: not a regular file"}},
    {"ConfigEmpty", 1, Replace("config.json", ""), {"config.json: not valid JSON", "of 0"}},
    {"ConfigTooLarge", 1, Resize("config.json", 17 << 20), {"config.json: the file has", "at most 16777216"}},
    {"ConfigFieldTwice",
     1,
     Replace("config.json", R"({"hidden_size": 32, "hidden_size": 64})"),
     {"config.json", "'hidden_size' occurs 2 times"}},
    {"GenerationConfigBroken", 1, Replace("generation_config.json", "{"), {"generation_config.json: not valid JSON"}},
    {"GenerationConfigEosAboveVocab",
     1,
     Json("generation_config.json", [](auto& c) { c["eos_token_id"] = 64; }),
     {"generation_config.json: eos_token_id is 64", "at most 63"}},
    {"WeightsMissing", 1, Remove(kSingle), {"has neither model.safetensors nor model.safetensors.index.json"}},
    {"WeightsEmpty", 1, Replace(kSingle, ""), {"model.safetensors: the file has 0 bytes", "at least 8"}},
    {"WeightsShorterThanTheirSize",
     1,
     Replace(kSingle, "abc"),
     {"model.safetensors: the file has 3 bytes", "at least 8"}},
    {"HeaderLongerThanFile", 1, Replace(kSingle, SafetensorsBytes("{}", "", 500)), {"claims 500 bytes", "only 2"}},
    {"HeaderAboveTheFormatsLimit",
     1,
     Replace(kSingle, SafetensorsBytes("{}", "", int64_t{1} << 40)),
     {"claims 1099511627776 bytes", "allows 100000000"}},
    {"HeaderIsNotJson",
     1,
     Replace(kSingle, SafetensorsBytes("{what}", "")),
     {"model.safetensors: the header is not valid"}},
    {"PickleInsteadOfSafetensors",
     1,
     Replace(kSingle, "\x80\x02}q\x01(X\x0a\x00\x00\x00lm_head"),
     {"claims ", "allows "}},
    {"FileCutByOneByte", 1, Resize(kSingle, -1), {"model.safetensors: tensor 'lm_head.weight'", "is beyond"}},
    {"FileLongerByOneByte", 1, Resize(kSingle, 1), {"model.safetensors: the tensors cover"}},
    // Tensors of one file
    {"TensorMissing",
     1,
     Header(kSingle, [](auto& h) { h["other"] = h[kQuery], h.erase(kQuery); }),
     {"model.safetensors: tensor 'model.layers.0.self_attn.q_proj.weight' is missing", "implies 41 tensors",
      "40 are present"}},
    {"TensorOfAnExpertMissing",
     1,
     Json("config.json", [](auto& c) { c["num_local_experts"] = 5; }),
     {"tensor 'model.layers.0.block_sparse_moe.gate.weight' has shape [4, 32]", "implies [5, 32]"}},
    {"LayerMissing",
     1,
     Json("config.json", [](auto& c) { c["num_hidden_layers"] = 3; }),
     {"tensor 'model.layers.2.input_layernorm.weight' is missing", "implies 60 tensors", "41 are present"}},
    {"HeadMissing",
     1,
     Header(kSingle, [](auto& h) { h["other"] = h[kHead], h.erase(kHead); }),
     {"tensor 'lm_head.weight' is missing", "set tie_word_embeddings"}},
    {"ShapeDisagreesWithConfig",
     1,
     Json("config.json", [](auto& c) { c["hidden_size"] = 64; }),
     {"tensor 'model.embed_tokens.weight' has shape [64, 32]", "implies [64, 64]"}},
    {"VocabDisagreesWithConfig",
     1,
     Json("config.json", [](auto& c) { c["vocab_size"] = 63; }),
     {"model.safetensors: tensor 'model.embed_tokens.weight' has shape [64, 32]", "implies [63, 32]"}},
    {"KvHeadsDisagreeWithConfig",
     1,
     Json("config.json", [](auto& c) { c["num_key_value_heads"] = 4; }),
     {"'model.layers.0.self_attn.k_proj.weight' has shape [16, 32]", "implies [32, 32]"}},
    {"HeadDimDisagreesWithConfig",
     1,
     Json("config.json", [](auto& c) { c["head_dim"] = 16; }),
     {"'model.layers.0.self_attn.q_proj.weight' has shape [32, 32]", "implies [64, 32]"}},
    {"ShapeTransposed",
     1,
     Header(kSingle,
            [](auto& h) {
              h[kHead]["shape"] = {32, 64};
            }),
     {"tensor 'lm_head.weight' has shape [32, 64]", "implies [64, 32]"}},
    {"ShapeOfOtherRank",
     1,
     Header(kSingle, [](auto& h) { h[kHead]["shape"] = {2048}; }),
     {"tensor 'lm_head.weight' has shape [2048]", "implies [64, 32]"}},
    {"ShapeDisagreesWithBytes",
     1,
     Header(kSingle,
            [](auto& h) {
              h[kHead]["shape"] = {64, 33};
            }),
     {"tensor 'lm_head.weight': data_offsets hold 4096 bytes", "needs 4224"}},
    {"DTypeOfOtherWidth",
     1,
     Header(kSingle, [](auto& h) { h[kHead]["dtype"] = "F32"; }),
     {"tensor 'lm_head.weight': data_offsets hold 4096 bytes", "needs 8192"}},
    {"DTypeNotUsable",
     1,
     Header(kSingle, [](auto& h) { h[kHead]["dtype"] = "I16"; }),
     {"tensor 'lm_head.weight'", "has dtype I16", "BF16, F16 or F32"}},
    {"DTypeUnknown",
     1,
     Header(kSingle, [](auto& h) { h[kHead]["dtype"] = "BF17"; }),
     {"tensor 'lm_head.weight': unknown dtype 'BF17'"}},
    {"TensorsOverlap",
     1,
     Header(kSingle,
            [](auto& h) {
              h["model.norm.weight"]["data_offsets"] = h["model.layers.1.input_layernorm.weight"]["data_offsets"];
            }),
     {"tensor 'model.", "overlaps it up to"}},
    {"HoleBetweenTensors",
     1,
     Header(kSingle, [](auto& h) { h.erase("model.norm.weight"); }),
     {"tensor 'lm_head.weight'", "leaves a hole from"}},
    // Shards and their index
    {"IndexBroken", 2, Replace(kIndex, "{\"weight_map\""), {"index.json: not valid JSON at byte"}},
    {"IndexWithoutMap", 2, Json(kIndex, [](auto& i) { i.erase("weight_map"); }), {"index.json: weight_map is missing"}},
    {"IndexMapIsList",
     2,
     Json(kIndex,
          [](auto& i) {
            i["weight_map"] = {1, 2};
          }),
     {"index.json: weight_map is [1,2]"}},
    {"IndexMapEmpty",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"] = nlohmann::ordered_json::object(); }),
     {"index.json: weight_map is {}"}},
    {"IndexNamesANumber",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = 2; }),
     {"index.json: tensor 'lm_head.weight': file is 2", "must be a string"}},
    {"IndexNamesAMissingFile",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = "model-00003.safetensors"; }),
     {"model-00003.safetensors: No such file", "among 3 files", "download complete"}},
    {"ShardMissing", 2, Remove(kSecond), {"model-00002-of-00002.safetensors: No such file", "among 2 files"}},
    {"IndexNamesTheWrongShard",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = kFirst; }),
     {"index.json: tensor 'lm_head.weight' is not among the", "tensors of", kFirst}},
    {"IndexNamesAnAbsentTensor",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"]["ghost"] = kFirst; }),
     {"index.json: tensor 'ghost' is not among the", kFirst}},
    {"IndexOmitsATensor",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"].erase(kHead); }),
     {kSecond, "tensor 'lm_head.weight' is not named by the directory's index", "1 of the file's"}},
    {"IndexClimbsOutOfTheDirectory",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = "../evil.safetensors"; }),
     {"tensor 'lm_head.weight': file '../evil.safetensors'", "without a path"}},
    {"IndexNamesAnAbsolutePath",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = "/etc/passwd"; }),
     {"tensor 'lm_head.weight': file '/etc/passwd'", "without a path"}},
    {"IndexNamesTheParent",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = ".."; }),
     {"file '..'", "without a path"}},
    {"IndexNamesAnEmptyFile",
     2,
     Json(kIndex, [](auto& i) { i["weight_map"][kHead] = ""; }),
     {"file ''", "without a path"}},
    {"TensorInTwoShards",
     2,
     [](Directory d) {
       AppendTensor(d.File(kFirst), kHead, "BF16", {64, 32}, 4096);
     },
     {kSecond, "tensor 'lm_head.weight' occurs in 2 files", kFirst}},
    {"ShardTruncated", 2, Resize(kFirst, -100), {kFirst, "tensor 'model.layers.", "is beyond the file's data section"}},
};

INSTANTIATE_TEST_SUITE_P(Kinds, MalformedCheckpointTest, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace switchyard
