// What config.json says of weights that another tool quantised.
#include "engine/checkpoint/quantization_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "engine/checkpoint/config_files.h"
#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr char kPlace[] = "dir/config.json: quantization_config";

struct Parsed {
  absl::StatusOr<QuantizationConfig> config;
  std::vector<std::string> warnings;
};

Parsed Parse(const std::string& json) {
  Parsed parsed{.config = absl::UnknownError("")};
  parsed.config = ParseQuantizationConfig(kPlace, nlohmann::json::parse(json), parsed.warnings);
  EXPECT_TRUE(parsed.config.ok()) << parsed.config.status();
  EXPECT_THAT(parsed.warnings, IsEmpty());
  return parsed;
}

// As transformers 4.57 writes it.
constexpr char kBitsAndBytes[] = R"({"_load_in_4bit": true, "_load_in_8bit": false,
    "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": true, "llm_int8_enable_fp32_cpu_offload": false, "llm_int8_has_fp16_weight": false,
    "llm_int8_skip_modules": ["lm_head", "block_sparse_moe.gate"], "llm_int8_threshold": 6.0, "load_in_4bit": true,
    "load_in_8bit": false, "quant_method": "bitsandbytes"})";
// As AutoGPTQ and transformers wrote it for the Mixtral uploads of 2023.
constexpr char kGptq[] = R"({"batch_size": 1, "bits": 4, "block_name_to_quantize": null, "cache_block_outputs": true,
    "damp_percent": 0.1, "dataset": null, "desc_act": true, "exllama_config": {"version": 1}, "group_size": 128,
    "max_input_length": null, "model_seqlen": null, "module_name_preceding_first_block": null,
    "modules_in_block_to_quantize": [["self_attn.k_proj"]], "pad_token_id": null, "quant_method": "gptq", "sym": true,
    "tokenizer": null, "true_sequential": true, "use_cuda_fp16": false, "use_exllama": true})";
constexpr char kAwq[] = R"({"bits": 4, "group_size": 128, "modules_to_not_convert": ["gate"], "quant_method": "awq",
    "version": "gemm", "zero_point": true, "backend": "autoawq", "do_fuse": false, "exllama_config": null,
    "fuse_max_seq_len": null, "modules_to_fuse": null})";

TEST(QuantizationConfig, ReadsBitsAndBytes) {
  const QuantizationConfig config = *Parse(kBitsAndBytes).config;
  EXPECT_EQ(config.storage, WeightStorage::kBitsAndBytes);
  EXPECT_TRUE(config.double_quantized);
  EXPECT_THAT(config.kept_modules, ElementsAre("lm_head", "block_sparse_moe.gate"));
  EXPECT_EQ(*config.Neutral(128),
            (Quantization{.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}));
  EXPECT_THAT(config.Neutral(96).status().message(), HasSubstr("multiple of 64 wide, not 96"));
}

TEST(QuantizationConfig, OldBitsAndBytesNamesNoMethod) {
  const QuantizationConfig config = *Parse(R"({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"})").config;
  EXPECT_EQ(config.storage, WeightStorage::kBitsAndBytes);
  EXPECT_FALSE(config.double_quantized);
}

TEST(QuantizationConfig, ReadsGptq) {
  const QuantizationConfig config = *Parse(kGptq).config;
  EXPECT_EQ(config.storage, WeightStorage::kGptq);
  EXPECT_EQ(config.bits, 4);
  EXPECT_EQ(config.group_size, 128);
  EXPECT_TRUE(config.symmetric);
  EXPECT_TRUE(config.act_order);
  EXPECT_TRUE(config.zeros_minus_one);
  EXPECT_FALSE(config.lm_head);
  EXPECT_EQ(*config.Neutral(256), (Quantization{.format = WeightFormat::kInt4, .group_size = 128, .reordered = true}));
  EXPECT_EQ(*config.Neutral(128), (Quantization{.format = WeightFormat::kInt4, .group_size = 128}));
}

TEST(QuantizationConfig, FormatOfGptqDecidesOnTheZeroPoints) {
  EXPECT_TRUE(Parse(R"({"bits": 8, "group_size": 64, "checkpoint_format": "gptq"})").config->zeros_minus_one);
  EXPECT_FALSE(Parse(R"({"bits": 8, "group_size": 64, "checkpoint_format": "gptq_v2"})").config->zeros_minus_one);
  EXPECT_FALSE(Parse(R"({"bits": 8, "group_size": 64, "format": "gptq_v2"})").config->zeros_minus_one);
}

TEST(QuantizationConfig, ModulesThatStayDenseAreNoException) {
  EXPECT_TRUE(Parse(R"({"bits": 4, "group_size": 64, "dynamic": {"-:.*gate.*": {}}})").config.ok());
  EXPECT_TRUE(Parse(R"({"bits": 4, "group_size": 64, "dynamic": {}})").config.ok());
}

TEST(QuantizationConfig, ReadsAwq) {
  const QuantizationConfig config = *Parse(kAwq).config;
  EXPECT_EQ(config.storage, WeightStorage::kAwq);
  EXPECT_FALSE(config.symmetric);
  EXPECT_EQ(*config.Neutral(256), (Quantization{.format = WeightFormat::kInt4, .group_size = 128, .has_zeros = true}));
  EXPECT_TRUE(Parse(R"({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "GEMM"})").config.ok());
}

TEST(QuantizationConfig, LargeGroupsAreSeveralInMemory) {
  struct Groups {
    int64_t file, columns, memory;
  };
  for (const Groups groups : {Groups{-1, 256, 128}, Groups{-1, 192, 64}, Groups{256, 512, 128}, Groups{256, 320, 64},
                              Groups{192, 384, 64}, Groups{64, 256, 64}, Groups{128, 192, 128}}) {
    QuantizationConfig config = *Parse(R"({"bits": 8, "group_size": 64})").config;
    config.group_size = groups.file;
    EXPECT_EQ(config.Neutral(groups.columns)->group_size, groups.memory) << groups.file << ", " << groups.columns;
  }
}

TEST(QuantizationConfig, OrderOfOneGroupIsIrrelevant) {
  EXPECT_FALSE(Parse(R"({"bits": 4, "group_size": -1, "desc_act": true})").config->Neutral(256)->reordered);
  EXPECT_FALSE(Parse(R"({"bits": 4, "group_size": 256, "desc_act": true})").config->Neutral(256)->reordered);
  EXPECT_TRUE(Parse(R"({"bits": 4, "group_size": 256, "desc_act": true})").config->Neutral(512)->reordered);
}

TEST(QuantizationConfig, KeptModulesAreWholePartsOfAPath) {
  const QuantizationConfig config = *Parse(kBitsAndBytes).config;
  EXPECT_TRUE(config.Keeps("lm_head.weight"));
  EXPECT_TRUE(config.Keeps("model.layers.0.block_sparse_moe.gate.weight"));
  EXPECT_FALSE(config.Keeps("model.layers.0.block_sparse_moe.gate_proj.weight"));
  EXPECT_FALSE(config.Keeps("model.layers.0.block_sparse_moe.experts.0.w1.weight"));
}

TEST(QuantizationConfig, UnknownFieldsAreNamed) {
  std::vector<std::string> warnings;
  ASSERT_TRUE(
      ParseQuantizationConfig(kPlace, {{"bits", 4}, {"group_size", 64}, {"rotation", "hadamard"}}, warnings).ok());
  EXPECT_THAT(warnings, ElementsAre(std::string(kPlace) + ": \"rotation\" is not a field of gptq that is known here, "
                                                          "and is ignored"));
}

struct Refused {
  std::string name;
  std::string json;   // merged into `base`
  std::string named;  // field and fault
  const char* base = "{}";
};

void PrintTo(const Refused& kind, std::ostream* out) { *out << kind.name; }

class RefusedQuantizationTest : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedQuantizationTest, IsRefusedByName) {
  auto json = nlohmann::json::parse(GetParam().base);
  const auto edit = nlohmann::json::parse(GetParam().json);
  if (edit.is_object()) {
    json.update(edit);
  } else {
    json = edit;
  }
  std::vector<std::string> warnings;
  const absl::Status status = ParseQuantizationConfig(kPlace, json, warnings).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith(kPlace));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().named));
}

const Refused kRefused[] = {
    {"NoObject", "4", "is 4; it must be an object"},
    {"Fp8", R"({"quant_method": "fp8"})", ": quant_method is \"fp8\"; only bitsandbytes (nf4), gptq"},
    {"CompressedTensors", R"({"quant_method": "compressed-tensors"})", "\"compressed-tensors\"; only"},
    {"Hqq", R"({"quant_method": "hqq"})", "\"hqq\"; only"},
    {"Aqlm", R"({"quant_method": "aqlm"})", "--quantize instead"},
    {"Exl2", R"({"quant_method": "exl2", "bits": 4.0})", "\"exl2\"; only"},
    {"Gguf", R"({"quant_method": "gguf"})", "\"gguf\"; only"},
    {"AutoRound", R"({"quant_method": "auto-round", "bits": 4})", "\"auto-round\"; only"},
    {"NewerMethod", R"({"method": "qqq", "bits": 4})", "\"qqq\"; only"},
    {"MethodIsNumber", R"({"quant_method": 4})", "quant_method is 4; it must be a string"},
    {"Fp4", R"({"bnb_4bit_quant_type": "fp4"})", ": bnb_4bit_quant_type is 'fp4'; only 'nf4' is read", kBitsAndBytes},
    {"Fp4ByDefault", R"({"load_in_4bit": true})", "bnb_4bit_quant_type is 'fp4'"},
    {"Int8", R"({"load_in_8bit": true})", ": load_in_8bit is true; bitsandbytes' 8-bit", kBitsAndBytes},
    {"Int8Alone", R"({"quant_method": "bitsandbytes", "_load_in_8bit": true})", "load_in_8bit is true"},
    {"NoBits", R"({"quant_method": "bitsandbytes"})", "load_in_4bit is not true"},
    {"Storage", R"({"bnb_4bit_quant_storage": "bfloat16"})", "bnb_4bit_quant_storage is 'bfloat16'", kBitsAndBytes},
    {"SkipModules", R"({"llm_int8_skip_modules": "lm_head"})", "is \"lm_head\"; it must be a list", kBitsAndBytes},
    {"SkipNumbers", R"({"llm_int8_skip_modules": [1]})", "contains 1; it must list names", kBitsAndBytes},
    {"SkipNothing", R"({"llm_int8_skip_modules": [""]})", "contains \"\"; it must list names", kBitsAndBytes},
    {"BitsMissing", R"({"bits": null})", ": bits is missing", kGptq},
    {"TwoBits", R"({"bits": 2})", ": bits is 2; only 4 and 8 bits", kGptq},
    {"ThreeBits", R"({"bits": 3})", ": bits is 3; only 4 and 8 bits", kGptq},
    {"GroupMissing", R"({"group_size": null})", ": group_size is missing", kGptq},
    {"Group32", R"({"group_size": 32})", ": group_size is 32; only -1, 64, 128", kGptq},
    {"GroupOdd", R"({"group_size": 100})", ": group_size is 100; only", kGptq},
    {"GroupZero", R"({"group_size": 0})", ": group_size is 0; only", kGptq},
    {"GroupNegative", R"({"group_size": -64})", ": group_size is -64; it must be at least -1", kGptq},
    {"GroupAbsurd", R"({"group_size": 4294967296})", "it must be at most 1048576", kGptq},
    {"Marlin", R"({"checkpoint_format": "marlin"})", "checkpoint_format is 'marlin'; only 'gptq'", kGptq},
    {"MarlinFlag", R"({"is_marlin_format": true})", "is_marlin_format is true", kGptq},
    {"TwoFormats", R"({"checkpoint_format": "gptq", "format": "gptq_v2"})", "format is 'gptq_v2' but", kGptq},
    {"Words", R"({"pack_dtype": "int64"})", "pack_dtype is 'int64'; only 'int32'", kGptq},
    {"Dynamic", R"({"dynamic": {"+:.*w2": {"bits": 8}}})", "dynamic quantises \"+:.*w2\" in another way", kGptq},
    {"DynamicList", R"({"dynamic": [4]})", "dynamic is [4]; it must be an object", kGptq},
    {"SymIsNumber", R"({"sym": 1})", ": sym is 1; it must be true or false", kGptq},
    {"AwqBits", R"({"bits": 8})", ": bits is 8; only 4 bits are read of awq", kAwq},
    {"AwqGroup32", R"({"group_size": 32})", ": group_size is 32", kAwq},
    {"Gemv", R"({"version": "gemv"})", ": version is 'gemv'; of awq only the packing 'gemm'", kAwq},
    {"AwqMarlin", R"({"version": "marlin"})", ": version is 'marlin'", kAwq},
    {"LlmAwq", R"({"backend": "llm-awq"})", ": backend is 'llm-awq'", kAwq},
};

INSTANTIATE_TEST_SUITE_P(Kinds, RefusedQuantizationTest, ::testing::ValuesIn(kRefused),
                         [](const auto& info) { return info.param.name; });

class QuantizationFilesTest : public ::testing::Test {
 protected:
  QuantizationFilesTest() { CHECK(WriteSyntheticCheckpoint({}, directory_.path()).ok()); }
  absl::StatusOr<ConfigFiles> Read() const { return ReadConfigFiles(directory_.File("config.json"), OpenPosixFile); }

  TemporaryDirectory directory_;
};

TEST_F(QuantizationFilesTest, DenseCheckpointsSayNothing) {
  const absl::StatusOr<ConfigFiles> files = Read();
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->quantization_or_null(), nullptr);
}

TEST_F(QuantizationFilesTest, OlderUploadsHaveAFileOfTheirOwn) {
  WriteBytes(directory_.File("quantize_config.json"), R"({"bits": 8, "group_size": 64, "desc_act": false})");
  const absl::StatusOr<ConfigFiles> files = Read();
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_NE(files->quantization_or_null(), nullptr);
  EXPECT_EQ(files->quantization->place, directory_.File("quantize_config.json"));
  EXPECT_EQ(files->quantization->bits, 8);
  WriteBytes(directory_.File("quantize_config.json"), R"({"bits": 8)");
  EXPECT_THAT(Read().status().message(), HasSubstr("quantize_config.json"));
}

TEST_F(QuantizationFilesTest, ConfigOfTheModelComesFirst) {
  WriteBytes(directory_.File("quantize_config.json"), R"({"bits": 8, "group_size": 64})");
  EditJson(directory_.File("config.json"), [](auto& json) {
    json["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}, {"odd", 1}};
  });
  const absl::StatusOr<ConfigFiles> files = Read();
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->quantization->storage, WeightStorage::kAwq);
  EXPECT_THAT(files->warnings, ElementsAre(HasSubstr("config.json: quantization_config: \"odd\" is not")));
}

}  // namespace
}  // namespace switchyard
