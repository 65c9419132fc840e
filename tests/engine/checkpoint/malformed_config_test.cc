// config.json files that must be refused, each by a message that names file, field, value and limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/checkpoint/model_config.h"

namespace switchyard {
namespace {

struct MalformedConfig {
  std::string name;
  std::string field;
  std::string value;  // JSON; empty: the field is removed
  std::vector<std::string> named;
};

void PrintTo(const MalformedConfig& kind, std::ostream* out) { *out << kind.name; }

class MalformedConfigTest : public ::testing::TestWithParam<MalformedConfig> {};

TEST_P(MalformedConfigTest, IsRefusedByName) {
  auto config = nlohmann::json::parse(R"({"model_type": "mixtral", "vocab_size": 320, "hidden_size": 128,
      "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
      "num_local_experts": 8, "num_experts_per_tok": 2})");
  ASSERT_TRUE(ParseModelConfig("dir/config.json", config).ok());
  if (GetParam().value.empty()) {
    config.erase(GetParam().field);
  } else {
    config[GetParam().field] = nlohmann::json::parse(GetParam().value);
  }
  const absl::Status status = ParseModelConfig("dir/config.json", config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(status.message());
  EXPECT_THAT(message, ::testing::StartsWith("dir/config.json: " + GetParam().field));
  for (const std::string& part : GetParam().named) EXPECT_THAT(message, ::testing::HasSubstr(part));
}

const MalformedConfig kKinds[] = {
    {"ModelTypeMissing", "model_type", "", {"missing", "supported: mixtral"}},
    {"ModelTypeUnknown", "model_type", R"("llama")", {"\"llama\"", "supported: mixtral"}},
    {"ModelTypeIsNumber", "model_type", "7", {"is 7", "must be a string"}},
    {"VocabMissing", "vocab_size", "", {"missing"}},
    {"VocabZero", "vocab_size", "0", {"is 0", "at least 1"}},
    {"VocabAbsurd", "vocab_size", "1099511627776", {"is 1099511627776", "at most 16777216"}},
    {"HiddenMissing", "hidden_size", "", {"missing"}},
    {"HiddenNegative", "hidden_size", "-128", {"is -128", "at least 1"}},
    {"HiddenFraction", "hidden_size", "128.5", {"is 128.5", "whole number"}},
    {"HiddenString", "hidden_size", R"("128")", {"is \"128\"", "whole number"}},
    {"HiddenAbsurd", "hidden_size", "1099511627776", {"is 1099511627776", "at most 1048576"}},
    {"HiddenAbove64Bits", "hidden_size", "18446744073709551615", {"is 18446744073709551615", "at most 1048576"}},
    {"HiddenAboveAllIntegers", "hidden_size", "1e30", {"is 1e+30", "whole number"}},
    {"HiddenNotMultipleOfHeads", "hidden_size", "130", {"is 130", "num_attention_heads 4"}},
    {"HeadTooWide", "hidden_size", "131072", {"is 131072", "at most 4096 dimensions"}},
    {"IntermediateZero", "intermediate_size", "0", {"is 0", "at least 1"}},
    {"LayersAbsurd", "num_hidden_layers", "1000000", {"is 1000000", "at most 4096"}},
    {"HeadsZero", "num_attention_heads", "0", {"is 0", "at least 1"}},
    {"KvHeadsDoNotDivide", "num_key_value_heads", "3", {"is 3", "num_attention_heads 4"}},
    {"KvHeadsAboveHeads", "num_key_value_heads", "8", {"is 8", "num_attention_heads 4"}},
    {"HeadDimOdd", "head_dim", "33", {"is 33", "multiple of 2"}},
    {"HeadDimZero", "head_dim", "0", {"is 0", "at least 2"}},
    {"ExpertsZero", "num_local_experts", "0", {"is 0", "at least 1"}},
    {"TopKAboveExperts", "num_experts_per_tok", "9", {"is 9", "num_local_experts 8"}},
    {"TopKZero", "num_experts_per_tok", "0", {"is 0", "at least 1"}},
    {"PositionsZero", "max_position_embeddings", "0", {"is 0", "at least 1"}},
    {"EpsilonZero", "rms_norm_eps", "0", {"is 0", "greater than 0"}},
    {"EpsilonNegative", "rms_norm_eps", "-1e-5", {"is -1e-05", "greater than 0"}},
    {"WindowZero", "sliding_window", "0", {"is 0", "at least 1"}},
    {"WindowIsBoolean", "sliding_window", "true", {"is true", "whole number"}},
    {"TieIsNumber", "tie_word_embeddings", "1", {"is 1", "true or false"}},
    {"EosAboveVocab", "eos_token_id", "[2, 320]", {"is 320", "at most 319"}},
    {"BosNegative", "bos_token_id", "-1", {"is -1", "at least 0"}},
    {"ActivationUnknown", "hidden_act", R"("gelu")", {"'gelu'", "only 'silu'"}},
    {"ElementTypeUnknown", "torch_dtype", R"("int8")", {"'int8'", "bfloat16, float16 and float32"}},
    {"AttentionBias", "attention_bias", "true", {"is true", "not supported"}},
    {"SoftCap", "attn_logit_softcapping", "50.0", {"is 50.0", "not supported"}},
    {"SharedExperts", "n_shared_experts", "2", {"is 2", "not supported"}},
    {"SigmoidRouter", "scoring_func", R"("sigmoid")", {"\"sigmoid\"", "not supported"}},
    {"RouterNotRenormalised", "norm_topk_prob", "false", {"is false", "renormalises"}},
    {"MixedLayers", "layer_types", R"(["full_attention", "sliding_attention"])", {"\"sliding_attention\""}},
    {"RopeUnknown", "rope_scaling", R"({"rope_type": "longrope"})", {"'longrope'", "default, linear, llama3 and yarn"}},
};

INSTANTIATE_TEST_SUITE_P(Kinds, MalformedConfigTest, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace switchyard
