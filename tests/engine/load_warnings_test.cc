#include "engine/load_warnings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/engine/planned_gpus.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> WarningsOf(int ranks, AttentionParallelism attention, int head_dim) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "warned_of" / "config.json";
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << R"({"model_type": "mixtral", "hidden_size": 256, "num_hidden_layers": 2, "vocab_size": 64,
    "num_attention_heads": 8, "num_key_value_heads": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
    "intermediate_size": 128, "max_position_embeddings": 128, "torch_dtype": "bfloat16", "mystery": 1, "head_dim": )"
                      << head_dim << "}";
  const auto checkpoint = Checkpoint::OpenConfig(path.string(), Quantized("nf4"));
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  EngineConfig config;
  config.num_local_ranks = ranks;
  config.attention = attention;
  return LoadWarnings(PlanFor(config, **checkpoint), **checkpoint);
}

TEST(LoadWarnings, SayOnceWhatIsSoOnEveryRank) {
  EXPECT_THAT(WarningsOf(2, AttentionParallelism::kReplicated, 20),
              ElementsAre(HasSubstr("mystery"), AllOf(StartsWith("'model.layers.0.self_attn.o_proj.weight' and 1 more"),
                                                      HasSubstr("not 160"))));
}

TEST(LoadWarnings, NameTheRankWhereItIsSoOnSome) {
  const auto tensor_parallel = AttentionParallelism::kTensorParallel;
  EXPECT_THAT(WarningsOf(1, tensor_parallel, 40), ElementsAre(HasSubstr("mystery")));
  EXPECT_THAT(WarningsOf(2, tensor_parallel, 40),
              ElementsAre(HasSubstr("mystery"), AllOf(StartsWith("rank 0: 'model.layers.0"), HasSubstr("0 to 160")),
                          AllOf(StartsWith("rank 1: 'model.layers.0"), HasSubstr("160 to 320"))));
}

}  // namespace
}  // namespace switchyard
