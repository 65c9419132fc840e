// The engine with weights that are quantised while they are loaded: the same log-probabilities on every number of ranks
// and either attention, and those of the plain loops, which dequantise to float32 and add in double.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr double kRankTolerance = 1e-4;
constexpr double kReferenceTolerance = 1e-3;

std::vector<std::vector<float>> Score(const EngineConfig& config, const std::string& directory) {
  const std::unique_ptr<Engine> engine = StartEngine(config);
  std::ifstream file(directory + "/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  std::vector<GenerationRequest> requests;
  for (const auto& sequence : golden["sequences"]) {
    requests.push_back(ScoringRequest(absl::StrCat("score ", requests.size()), sequence["tokens"]));
  }
  std::vector<std::vector<float>> scores;
  for (const Completion& completion : RunTogether(*engine, requests)) {
    std::vector<float>& row = scores.emplace_back();
    for (const PromptLogProb& entry : completion.prompt_logprobs) row.push_back(entry.logprob);
  }
  return scores;
}

void ExpectNear(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& expected,
                double tolerance, const std::string& where) {
  ASSERT_EQ(got.size(), expected.size()) << where;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), expected[i].size()) << where;
    for (size_t j = 0; j < got[i].size(); ++j) {
      EXPECT_NEAR(got[i][j], expected[i][j], tolerance) << where << ", sequence " << i << ", position " << j;
    }
  }
}

using Param = std::tuple<std::string, std::string>;  // checkpoint, recipe

class QuantizedEngineTest : public testing::TestWithParam<Param> {
 protected:
  std::string Directory() const { return absl::StrCat(SWITCHYARD_SOURCE_DIR "/", std::get<0>(GetParam())); }
  EngineConfig Config() const {
    const QuantizationRecipe recipe = *ParseQuantizationRecipe(std::get<1>(GetParam()));
    return {.model_dir = Directory(),
            .num_threads = 1,
            .kv_cache_bytes = int64_t{16} << 20,
            .max_batch_tokens = 64,
            .quantize = {.experts = recipe, .attention = recipe, .embeddings = recipe}};
  }
};

TEST_P(QuantizedEngineTest, ScoresAlikeOnEveryNumberOfRanksAndAsTheReference) {
  EngineConfig config = Config();
  const std::vector<std::vector<float>> alone = Score(config, Directory());
  config.reference_kernels = true;
  ExpectNear(alone, Score(config, Directory()), kReferenceTolerance, "reference kernels");
  config.reference_kernels = false;
  config.num_local_ranks = 2;
  const auto spec = (*Checkpoint::Open(Directory()))->spec();
  for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
    if (attention == AttentionParallelism::kTensorParallel && spec.num_kv_heads % 2 != 0) continue;
    config.attention = attention;
    ExpectNear(Score(config, Directory()), alone, kRankTolerance, absl::StrCat("2 ranks, ", Name(attention)));
  }
}

INSTANTIATE_TEST_SUITE_P(EveryFormat, QuantizedEngineTest,
                         testing::Combine(testing::Values("models/tiny-mixtral", "tests/golden/top2-of-8",
                                                          "tests/golden/top1-of-4-switch", "tests/golden/top3-of-6"),
                                          testing::Values("nf4", "int4", "int4-g64", "int4-asym", "int4-g64-asym",
                                                          "int8", "int8-g64", "int8-g128")),
                         [](const testing::TestParamInfo<Param>& info) {
                           return absl::StrReplaceAll(
                               absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)),
                               {{"-", "_"}, {"/", "_"}});
                         });

}  // namespace
}  // namespace switchyard
