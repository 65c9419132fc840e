// Weights found among the tensors of the shards: dense ones, and the parts of quantised ones.
#include "engine/checkpoint/weight_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint/source_vectors.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A model of one layer, two experts and sides of 128, whose tensors are listed and not there.
class QuantizedMapTest : public ::testing::Test {
 protected:
  QuantizedMapTest() {
    spec_ = {.model_type = "mixtral",
             .vocab_size = 256,
             .hidden_size = 128,
             .num_layers = 1,
             .weight_dtype = DType::kFloat16,
             .num_heads = 2,
             .num_kv_heads = 2,
             .head_dim = 64,
             .num_experts = 2,
             .experts_per_token = 2,
             .expert_intermediate_size = 128};
    shards_ = {{.path = "dir/a"}, {.path = "dir/b"}};
    for (const char* const name : {"model.embed_tokens.weight", "lm_head.weight"}) Add(0, name, "F16", {256, 128});
    for (const char* const name : {"model.norm.weight", "model.layers.0.input_layernorm.weight",
                                   "model.layers.0.post_attention_layernorm.weight"}) {
      Add(0, name, "F16", {128});
    }
    Add(0, kRouter, "F16", {2, 128});
    for (const char* const name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      squares_.push_back(absl::StrCat("model.layers.0.self_attn.", name));
    }
    for (const char* const name : {"0.w1", "0.w2", "0.w3", "1.w1", "1.w2", "1.w3"}) {
      squares_.push_back(absl::StrCat("model.layers.0.block_sparse_moe.experts.", name));
    }
  }
  void Add(size_t shard, const std::string& name, const char* dtype, std::vector<int64_t> shape) {
    int64_t bytes = absl::EndsWith(dtype, "32") ? 4 : absl::EndsWith(dtype, "16") ? 2 : 1;
    for (const int64_t extent : shape) bytes *= extent;
    shards_[shard].header.tensors.push_back(
        {.name = name, .dtype = dtype, .shape = std::move(shape), .begin = end_, .end = end_ + bytes});
    end_ += bytes;
  }
  void AddGptq() {
    for (const std::string& name : squares_) {
      Add(0, name + ".qweight", "I32", {16, 128});
      Add(1, name + ".qzeros", "I32", {2, 16});
      Add(1, name + ".scales", "F16", {2, 128});
      Add(0, name + ".g_idx", "I32", {128});
      Add(0, name + ".bias", "F16", {128});
    }
  }
  void AddBitsAndBytes() {
    for (const std::string& name : squares_) {
      Add(0, name + ".weight", "U8", {128 * 64, 1});
      Add(0, name + ".weight.absmax", "U8", {256});
      Add(0, name + ".weight.quant_map", "F32", {16});
      Add(0, name + ".weight.nested_absmax", "F32", {1});
      Add(1, name + ".weight.nested_quant_map", "F32", {256});
      Add(0, name + ".weight.quant_state.bitsandbytes__nf4", "U8", {170});
    }
  }
  SafetensorsEntry& Entry(const std::string& name) {
    for (ShardHeader& shard : shards_) {
      for (SafetensorsEntry& entry : shard.header.tensors) {
        if (entry.name == name) return entry;
      }
    }
    CHECK(false && "no such tensor");
    return shards_[0].header.tensors[0];
  }
  void Rename(const std::string& name, const std::string& to) { Entry(name).name = to; }

  absl::StatusOr<WeightMap> Make(const QuantizationConfig* config) {
    warnings_.clear();
    return WeightMap::Make(spec_, NamingOf("mixtral"), config, shards_, warnings_);
  }
  std::string Refusal(const QuantizationConfig* config) {
    const absl::Status status = Make(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  }

  static constexpr char kRouter[] = "model.layers.0.block_sparse_moe.gate.weight";
  const QuantizationConfig gptq_ = ParseConfig({{"bits", 4}, {"group_size", 64}, {"desc_act", true}, {"sym", false}});
  const QuantizationConfig awq_ = ParseConfig({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}});
  const QuantizationConfig bnb_ =
      ParseConfig({{"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}, {"bnb_4bit_use_double_quant", true}});
  DecoderSpec spec_;
  std::vector<ShardHeader> shards_;
  std::vector<std::string> squares_;  // names of the modules that are quantised
  std::vector<std::string> warnings_;
  int64_t end_ = 0;
};

TEST_F(QuantizedMapTest, TensorsDecideWhichWeightsAreQuantised) {
  AddGptq();
  const absl::StatusOr<WeightMap> map = Make(&gptq_);
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_THAT(warnings_, IsEmpty());
  const TensorLocation& router = map->Find(WeightRole::kRouter);
  EXPECT_TRUE(router.is_dense());
  EXPECT_TRUE(router.quantization.is_dense());
  const TensorLocation& down = map->Find(WeightRole::kExpertDown, 0, 1);
  EXPECT_EQ(down.name, "model.layers.0.block_sparse_moe.experts.1.w2.weight");
  EXPECT_EQ(down.storage, WeightStorage::kGptq);
  EXPECT_EQ(down.dtype, DType::kFloat16);
  EXPECT_THAT(down.shape, ElementsAre(128, 128));
  EXPECT_EQ(down.quantization,
            (Quantization{.format = WeightFormat::kInt4, .group_size = 64, .has_zeros = true, .reordered = true}));
  EXPECT_EQ(down.file_group_size, 64);
  EXPECT_TRUE(down.zeros_minus_one);
  EXPECT_EQ(down.file, size_t{0});
  std::vector<std::string> suffixes;
  for (const TensorPart& part : down.parts) suffixes.push_back(part.suffix);
  EXPECT_THAT(suffixes, ElementsAre("qweight", "g_idx", "bias", "qzeros", "scales"));
  EXPECT_EQ(down.bytes(), 16 * 128 * 4 + 2 * 16 * 4 + 2 * 128 * 2 + 128 * 4 + 128 * 2);
}

TEST_F(QuantizedMapTest, BitsAndBytesIsFoundByItsState) {
  AddBitsAndBytes();
  const absl::StatusOr<WeightMap> map = Make(&bnb_);
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_THAT(warnings_, IsEmpty());
  const TensorLocation& query = map->Find(WeightRole::kQuery);
  EXPECT_EQ(query.storage, WeightStorage::kBitsAndBytes);
  EXPECT_TRUE(query.quantization.double_quantized);
  EXPECT_EQ(query.parts.front().suffix, "");
  EXPECT_EQ(query.bytes(), 128 * 64 + 256 + 64 + 4 + 1024 + 170);
}

TEST_F(QuantizedMapTest, QuantisedWeightsNeedAConfig) {
  AddGptq();
  EXPECT_THAT(Refusal(nullptr), StartsWith("dir/a: tensor 'model.layers.0.self_attn.q_proj.qweight' is part of a "
                                           "weight that gptq or awq quantised, but config.json has no "));
}

TEST_F(QuantizedMapTest, OtherMethodThanStatedIsRefused) {
  AddGptq();
  EXPECT_THAT(Refusal(&bnb_), HasSubstr("gptq or awq quantised, but dir/config.json says bitsandbytes"));
  EXPECT_THAT(Refusal(&awq_), HasSubstr("q_proj.qweight' has shape [16, 128] but 4-bit awq of [128, 128] in groups of "
                                        "64 (dir/config.json) implies [128, 16]"));
}

TEST_F(QuantizedMapTest, ConfigWithoutQuantisedWeightsIsRefused) {
  for (const std::string& name : squares_) Add(0, name + ".weight", "F16", {128, 128});
  EXPECT_TRUE(Make(nullptr).ok());
  EXPECT_EQ(Refusal(&gptq_), "dir/config.json says gptq, but all weights are dense: remove it if that is right");
}

TEST_F(QuantizedMapTest, WeightInBothFormsIsRefused) {
  AddGptq();
  Add(1, squares_[3] + ".weight", "F16", {128, 128});
  EXPECT_THAT(Refusal(&gptq_), HasSubstr("o_proj.qweight' is beside 'model.layers.0.self_attn.o_proj.weight'"));
}

TEST_F(QuantizedMapTest, WeightInNoFormIsMissing) {
  AddGptq();
  Rename(squares_[3] + ".qweight", "x");
  EXPECT_THAT(Refusal(&gptq_),
              HasSubstr("'model.layers.0.self_attn.o_proj.weight' is missing: config.json implies 16"));
}

TEST_F(QuantizedMapTest, QuantisedModulesThatTheConfigKeepsAreCounted) {
  AddGptq();
  QuantizationConfig config = gptq_;
  config.kept_modules = {"experts.1", "gate"};
  ASSERT_TRUE(Make(&config).ok());
  EXPECT_THAT(warnings_, ElementsAre("dir/config.json keeps modules dense of which 3 are quantised"));
}

TEST_F(QuantizedMapTest, LeftoversAreNamed) {
  AddGptq();
  Add(1, "model.layers.0.block_sparse_moe.gate.g_idx", "I32", {128});
  ASSERT_TRUE(Make(&gptq_).ok());
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("dir/b: tensor 'model.layers.0.block_sparse_moe.gate.g_idx' is not")));
}

TEST_F(QuantizedMapTest, SidesMustFillWholeWords) {
  Rename(kRouter, "x");
  Add(0, "model.layers.0.block_sparse_moe.gate.qweight", "I32", {16, 2});
  AddGptq();
  EXPECT_THAT(Refusal(&gptq_), HasSubstr("gate.qweight' cannot be 4-bit gptq of [2, 128] in groups of 64: its sides"));
}

TEST_F(QuantizedMapTest, Nf4NeedsWholeBlocks) {
  AddBitsAndBytes();
  spec_.expert_intermediate_size = 96;
  EXPECT_THAT(Refusal(&bnb_),
              HasSubstr("w1.weight' has shape [8192, 1] but double-quantised 4-bit bitsandbytes of [96,"));
  spec_.expert_intermediate_size = 128;
  spec_.hidden_size = 96;
  for (ShardHeader& shard : shards_) {
    for (SafetensorsEntry& entry : shard.header.tensors) {
      if (entry.dtype == "F16") entry.shape.back() = 96;
    }
  }
  EXPECT_THAT(Refusal(&bnb_), HasSubstr("nf4 needs rows that are a multiple of 64 wide, not 96"));
}

// Every part of a weight, broken in every way.
struct Broken {
  std::string suffix;
  bool is_gptq = true;
  bool is_optional = false;
};

void PrintTo(const Broken& part, std::ostream* out) { *out << part.suffix; }

class BrokenPartTest : public QuantizedMapTest, public ::testing::WithParamInterface<Broken> {
 protected:
  BrokenPartTest() {
    if (GetParam().is_gptq) {
      AddGptq();
    } else {
      AddBitsAndBytes();
    }
  }
  std::string name() const { return absl::StrCat(squares_[1], GetParam().suffix); }
  const QuantizationConfig* config() const { return GetParam().is_gptq ? &gptq_ : &bnb_; }
};

TEST_P(BrokenPartTest, WrongShapeIsRefused) {
  Entry(name()).shape.back() += 1;
  EXPECT_THAT(Refusal(config()), HasSubstr(absl::StrCat("tensor '", name(), "' has shape [")));
}

TEST_P(BrokenPartTest, WrongRankIsRefused) {
  Entry(name()).shape.push_back(1);
  EXPECT_THAT(Refusal(config()), HasSubstr(absl::StrCat("tensor '", name(), "' has shape [")));
}

TEST_P(BrokenPartTest, WrongTypeIsRefused) {
  Entry(name()).dtype = "I64";
  EXPECT_THAT(Refusal(config()), HasSubstr(absl::StrCat("tensor '", name(), "' has dtype I64 but ")));
}

TEST_P(BrokenPartTest, UnlistedIsRefused) {
  for (ShardHeader& shard : shards_) shard.unlisted.insert(name());
  EXPECT_THAT(Refusal(config()),
              HasSubstr(absl::StrCat("tensor '", name(), "' is not named by the directory's index")));
}

TEST_P(BrokenPartTest, MissingIsRefused) {
  Rename(name(), "x");
  if (GetParam().is_optional) {
    EXPECT_TRUE(Make(config()).ok());
  } else {
    EXPECT_THAT(Refusal(config()), HasSubstr(absl::StrCat(" has no '", name(), "' beside it")));
  }
}

INSTANTIATE_TEST_SUITE_P(Gptq, BrokenPartTest,
                         ::testing::Values(Broken{".qzeros"}, Broken{".scales"}, Broken{".g_idx"},
                                           Broken{.suffix = ".bias", .is_optional = true}));
INSTANTIATE_TEST_SUITE_P(BitsAndBytes, BrokenPartTest,
                         ::testing::Values(Broken{".weight", false}, Broken{".weight.absmax", false},
                                           Broken{".weight.quant_map", false}, Broken{".weight.nested_absmax", false},
                                           Broken{".weight.nested_quant_map", false}));

TEST_F(QuantizedMapTest, StateOfAbsurdSizeIsRefused) {
  AddBitsAndBytes();
  const std::string name = squares_[1] + ".weight.quant_state.bitsandbytes__nf4";
  Entry(name).shape = {4097};
  EXPECT_THAT(Refusal(&bnb_), HasSubstr("has shape [4097] but"));
  Entry(name).shape = {};
  EXPECT_THAT(Refusal(&bnb_), HasSubstr("has shape [] but"));
  Rename(name, squares_[1] + ".weight.quant_state.bitsandbytes__fp4");
  EXPECT_THAT(Refusal(&bnb_),
              HasSubstr("has no 'model.layers.0.self_attn.k_proj.weight.quant_state.bitsandbytes__nf4'"));
}

TEST_F(QuantizedMapTest, ImaginedWeightsAreQuantisedAsUsual) {
  const auto is_quantized = [this](const QuantizationConfig* config, WeightRole role) {
    const absl::StatusOr<WeightMap> map = WeightMap::Imagine(spec_, NamingOf("mixtral"), config);
    return map.ok() && !map->Find(role).is_dense();
  };
  EXPECT_FALSE(is_quantized(nullptr, WeightRole::kExpertUp));
  for (const QuantizationConfig* const config : {&gptq_, &awq_, &bnb_}) {
    EXPECT_TRUE(is_quantized(config, WeightRole::kExpertUp));
    EXPECT_TRUE(is_quantized(config, WeightRole::kAttentionOutput));
    EXPECT_EQ(is_quantized(config, WeightRole::kRouter), config == &bnb_);
    EXPECT_FALSE(is_quantized(config, WeightRole::kLmHead));
    EXPECT_FALSE(is_quantized(config, WeightRole::kEmbedding));
    EXPECT_FALSE(is_quantized(config, WeightRole::kInputNorm));
  }
  QuantizationConfig kept = bnb_;
  kept.kept_modules = {"gate"};
  EXPECT_FALSE(is_quantized(&kept, WeightRole::kRouter));
  const TensorLocation imagined = WeightMap::Imagine(spec_, NamingOf("mixtral"), &gptq_)->Find(WeightRole::kExpertUp);
  EXPECT_EQ(imagined.quantization, *gptq_.Neutral(128));
  EXPECT_THAT(imagined.parts, IsEmpty());
}

}  // namespace
}  // namespace switchyard
