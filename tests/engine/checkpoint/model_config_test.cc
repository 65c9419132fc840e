#include "engine/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

nlohmann::json MinimalConfig() {
  return nlohmann::json::parse(R"({"model_type": "mixtral", "vocab_size": 320, "hidden_size": 128,
      "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "num_local_experts": 8,
      "num_experts_per_tok": 2})");
}

DecoderSpec Parse(const nlohmann::json& config) {
  const auto spec = ParseModelConfig("config.json", config);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : DecoderSpec{};
}

TEST(ModelConfig, AbsentFieldsTakeTransformersDefaults) {
  const DecoderSpec spec = Parse(MinimalConfig());
  EXPECT_EQ(spec.num_kv_heads, 4);
  EXPECT_EQ(spec.head_dim, 32);
  EXPECT_EQ(spec.max_position_embeddings, 131072);
  EXPECT_FLOAT_EQ(spec.rms_norm_eps, 1e-5f);
  EXPECT_FALSE(spec.tie_word_embeddings);
  EXPECT_FALSE(spec.sliding_window.has_value());
  EXPECT_TRUE(spec.renormalize_router_weights);
  EXPECT_EQ(spec.bos_token_id, 1);
  EXPECT_THAT(spec.eos_token_ids, ElementsAre(2));
  EXPECT_THAT(spec.rope_inv_freq, SizeIs(16));
  EXPECT_FLOAT_EQ(spec.rope_inv_freq[8], 1e-3f);  // theta 1e6
  EXPECT_THAT(spec.warnings, IsEmpty());
}

TEST(ModelConfig, EveryStatedFieldIsHonoured) {
  nlohmann::json config = MinimalConfig();
  config.update(nlohmann::json::parse(R"({"num_key_value_heads": 2, "head_dim": 40, "max_position_embeddings": 512,
      "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "sliding_window": 64, "torch_dtype": "float16",
      "bos_token_id": 3, "eos_token_id": [4, 5], "rope_theta": 10000, "hidden_act": "silu"})"));
  const DecoderSpec spec = Parse(config);
  EXPECT_EQ(spec.model_type, "mixtral");
  EXPECT_EQ(spec.vocab_size, 320);
  EXPECT_EQ(spec.hidden_size, 128);
  EXPECT_EQ(spec.expert_intermediate_size, 192);
  EXPECT_EQ(spec.num_layers, 3);
  EXPECT_EQ(spec.num_heads, 4);
  EXPECT_EQ(spec.num_kv_heads, 2);
  EXPECT_EQ(spec.head_dim, 40);
  EXPECT_EQ(spec.num_experts, 8);
  EXPECT_EQ(spec.experts_per_token, 2);
  EXPECT_EQ(spec.max_position_embeddings, 512);
  EXPECT_FLOAT_EQ(spec.rms_norm_eps, 1e-6f);
  EXPECT_TRUE(spec.tie_word_embeddings);
  EXPECT_EQ(spec.sliding_window, 64);
  EXPECT_TRUE(spec.weight_dtype == DType::kFloat16);
  EXPECT_EQ(spec.bos_token_id, 3);
  EXPECT_THAT(spec.eos_token_ids, ElementsAre(4, 5));
  EXPECT_THAT(spec.rope_inv_freq, SizeIs(20));
}

TEST(ModelConfig, NullMeansAbsentExceptForSpecialTokens) {
  nlohmann::json config = MinimalConfig();
  for (const char* const name : {"num_key_value_heads", "head_dim", "sliding_window", "rope_scaling", "bos_token_id",
                                 "eos_token_id", "quantization_config", "attention_bias"}) {
    config[name] = nullptr;
  }
  const DecoderSpec spec = Parse(config);
  EXPECT_EQ(spec.num_kv_heads, 4);
  EXPECT_FALSE(spec.sliding_window.has_value());
  EXPECT_FALSE(spec.bos_token_id.has_value());
  EXPECT_THAT(spec.eos_token_ids, IsEmpty());
}

TEST(ModelConfig, NewerSpellingOfTheElementTypeWins) {
  nlohmann::json config = MinimalConfig();
  config["dtype"] = "float32";
  EXPECT_TRUE(Parse(config).weight_dtype == DType::kFloat32);
}

TEST(ModelConfig, UnknownFieldsAreNamedAndHarmlessOnesAreNot) {
  nlohmann::json config = MinimalConfig();
  config["router_jitter_noise"] = 0.1;
  config["attention_bias"] = false;
  config["layer_types"] = {"full_attention", "full_attention", "full_attention"};
  config["experimental_attention"] = "on";
  const DecoderSpec spec = Parse(config);
  ASSERT_THAT(spec.warnings, SizeIs(1));
  EXPECT_THAT(spec.warnings[0], HasSubstr("config.json: \"experimental_attention\" is not a field of mixtral"));
}

TEST(ModelConfig, ReadsTheConfigOfMixtral8x7B) {
  const DecoderSpec spec = Parse(nlohmann::json::parse(R"({"architectures": ["MixtralForCausalLM"],
      "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
      "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mixtral",
      "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8,
      "num_local_experts": 8, "output_router_logits": false, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
      "router_aux_loss_coef": 0.02, "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
      "transformers_version": "4.36.0.dev0", "use_cache": true, "vocab_size": 32000})"));
  EXPECT_EQ(spec.head_dim, 128);
  EXPECT_THAT(spec.warnings, IsEmpty());
}

}  // namespace
}  // namespace switchyard
