// The engine with offloaded experts on emulated GPUs: every number is what it is without.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModel[] = SWITCHYARD_SOURCE_DIR "/tests/golden/top2-of-8";

struct Case {
  int ranks;
  AttentionParallelism attention;
  ExchangeStrategy exchange;
  int64_t places;
  const char* format;
};

class EmulatedOffloadTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(
    Gpus, EmulatedOffloadTest,
    testing::Values(Case{1, AttentionParallelism::kReplicated, ExchangeStrategy::kAllToAll, 3, "none"},
                    Case{1, AttentionParallelism::kReplicated, ExchangeStrategy::kAllToAll, 1, "nf4"},
                    Case{2, AttentionParallelism::kReplicated, ExchangeStrategy::kAllGather, 2, "int4"},
                    Case{2, AttentionParallelism::kTensorParallel, ExchangeStrategy::kAllReduce, 3, "none"}),
    [](const auto& info) {
      return absl::StrCat(info.param.places, "PlacesOn", info.param.ranks, "Ranks", info.index);
    });

TEST_P(EmulatedOffloadTest, AnswersAsWithout) {
  std::ifstream file(std::string(kModel) + "/golden.json");
  std::vector<int32_t> tokens = nlohmann::json::parse(file)["sequences"][0]["tokens"];
  tokens.resize(std::min<size_t>(tokens.size(), 24));
  const auto run = [&](std::optional<int64_t> places, ExpertCacheStats& offload) {
    EngineConfig config = {.model_dir = kModel,
                           .device = DeviceKind::kCuda,
                           .attention = GetParam().attention,
                           .exchange = GetParam().exchange,
                           .max_model_len = 48,
                           .kv_cache_bytes = int64_t{4} << 20,
                           .max_batch_tokens = 32,
                           .max_running_requests = 2,
                           .expert_places = places,
                           .cuda_graphs = places.has_value(),  // which offloading turns off
                           .gpu_reserve_bytes = 0};
    if (GetParam().format != std::string("none")) {
      config.quantize.experts = *ParseQuantizationRecipe(GetParam().format);
    }
    for (int rank = 0; rank < GetParam().ranks; ++rank) config.gpus.push_back(rank);
    const std::unique_ptr<Engine> engine = StartEngine(config);
    EXPECT_EQ(engine->model_info().device.find("recorded steps"), std::string::npos) << engine->model_info().device;
    GenerationRequest generate = GreedyRequest("generate", tokens, 4);
    generate.stop.ignore_eos = true;
    std::vector<float> numbers;
    for (const GenerationRequest& request : {ScoringRequest("score", tokens), generate}) {
      const Completion completion = RunAlone(*engine, request);
      EXPECT_TRUE(completion.status.ok()) << completion.status;
      for (const PromptLogProb& position : completion.prompt_logprobs) numbers.push_back(position.logprob);
      for (const GeneratedToken& token : completion.tokens) {
        numbers.push_back(static_cast<float>(token.id));
        numbers.push_back(token.logprob);
      }
    }
    offload = engine->Stats().offload;
    return numbers;
  };
  ExpertCacheStats none;
  ExpertCacheStats offload;
  const std::vector<float> expected = run(std::nullopt, none);
  EXPECT_EQ(run(GetParam().places, offload), expected);
  EXPECT_EQ(none.num_needed, 0u);
  EXPECT_GT(offload.num_needed, 0u);
  EXPECT_GT(offload.num_prefetched, 0u);
  EXPECT_LT(offload.num_hits, offload.num_needed);
  const uint64_t num_loads = offload.num_needed - offload.num_hits + offload.num_prefetched;
  EXPECT_EQ(offload.bytes_copied % num_loads, 0u);  // each of one expert
  EXPECT_GE(offload.stall_seconds, 0.0);
}

}  // namespace
}  // namespace switchyard
