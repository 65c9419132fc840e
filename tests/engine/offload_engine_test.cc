// The engine with offloaded experts on CPU ranks: every number is what it is without.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModel[] = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";

EngineConfig OnCpu(int ranks, std::optional<int64_t> places) {
  return {.model_dir = kModel,
          .num_local_ranks = ranks,
          .num_threads = 2,
          .max_model_len = 128,
          .kv_cache_bytes = int64_t{8} << 20,
          .max_batch_tokens = 48,
          .expert_places = places,
          .offload_dir = testing::TempDir()};
}

struct Answers {
  std::vector<float> logprobs;  // of every position of the prompts
  std::vector<int32_t> tokens;  // greedy, of two sequences together
  std::vector<float> token_logprobs;
  ExpertCacheStats offload;
  std::string device;
};

Answers Ask(const EngineConfig& config) {
  const std::unique_ptr<Engine> engine = StartEngine(config);
  std::ifstream file(absl::StrCat(kModel, "/golden.json"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < 2; ++i) {
    const std::vector<int32_t> tokens = golden["sequences"][i]["tokens"];
    requests.push_back(ScoringRequest(absl::StrCat("score ", i), tokens));
    requests.push_back(GreedyRequest(absl::StrCat("generate ", i), tokens, 12));
    requests.back().stop.ignore_eos = true;
  }
  Answers answers = {.device = engine->model_info().device};
  // One after the other, so that steps hold the same tokens in every run.
  for (const GenerationRequest& request : requests) {
    const Completion completion = RunAlone(*engine, request);
    EXPECT_TRUE(completion.status.ok()) << completion.status;
    for (const PromptLogProb& position : completion.prompt_logprobs) answers.logprobs.push_back(position.logprob);
    for (const GeneratedToken& token : completion.tokens) {
      answers.tokens.push_back(token.id);
      answers.token_logprobs.push_back(token.logprob);
    }
  }
  answers.offload = engine->Stats().offload;
  return answers;
}

void ExpectTheSame(const Answers& expected, const Answers& got) {
  ASSERT_FALSE(expected.logprobs.empty());
  ASSERT_EQ(expected.tokens.size(), 24u);
  EXPECT_EQ(got.logprobs, expected.logprobs);
  EXPECT_EQ(got.tokens, expected.tokens);
  EXPECT_EQ(got.token_logprobs, expected.token_logprobs);
}

TEST(OffloadEngineTest, AnswersAsWithoutWithAnyNumberOfPlaces) {
  const Answers expected = Ask(OnCpu(1, std::nullopt));
  EXPECT_EQ(expected.offload.num_needed, 0u);
  uint64_t num_needed = 0;
  double last_hit_rate = 0;
  for (const int64_t places : {1, 2, 3, 5, 7, 8}) {
    SCOPED_TRACE(absl::StrCat(places, " places"));
    const Answers got = Ask(OnCpu(1, places));
    ExpectTheSame(expected, got);
    const ExpertCacheStats& offload = got.offload;
    if (places == 8) {
      EXPECT_EQ(offload.num_needed, 0u);  // nothing is offloaded
      EXPECT_EQ(got.device, expected.device);
      continue;
    }
    EXPECT_NE(got.device.find(absl::StrCat(places, " of 8 experts per layer at a time")), std::string::npos)
        << got.device;
    if (num_needed == 0) num_needed = offload.num_needed;
    EXPECT_EQ(offload.num_needed, num_needed);  // what is needed does not depend on what there is
    EXPECT_GT(num_needed, 100u);
    EXPECT_GT(offload.num_prefetched, 0u);
    EXPECT_LE(offload.num_prefetch_hits, std::min(offload.num_prefetched, offload.num_hits));
    const double hit_rate = static_cast<double>(offload.num_hits) / static_cast<double>(offload.num_needed);
    EXPECT_GE(hit_rate, last_hit_rate);
    last_hit_rate = hit_rate;
    const uint64_t num_loads = offload.num_needed - offload.num_hits + offload.num_prefetched;
    const uint64_t expert_bytes = 3 * 256 * 256 * 2;  // in bfloat16; whole pages as they are
    EXPECT_EQ(offload.bytes_copied % expert_bytes, 0u);
    EXPECT_LE(offload.bytes_copied, num_loads * expert_bytes);
    EXPECT_GE(offload.bytes_copied, (offload.num_needed - offload.num_hits) * expert_bytes);
    EXPECT_GT(offload.stall_seconds, 0.0);
  }
  EXPECT_GT(last_hit_rate, 0.8);
}

TEST(OffloadEngineTest, AnswersAsWithoutOnTwoRanksWhateverTheExchange) {
  for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
    for (const auto exchange :
         {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
      SCOPED_TRACE(absl::StrCat(Name(attention), " ", Name(exchange)));
      EngineConfig config = OnCpu(2, std::nullopt);
      config.attention = attention;
      config.exchange = exchange;
      const Answers expected = Ask(config);
      config.expert_places = 2;
      const Answers got = Ask(config);
      ExpectTheSame(expected, got);
      EXPECT_GT(got.offload.num_needed, 100u);
      EXPECT_GT(got.offload.num_prefetch_hits, 0u);
    }
  }
}

TEST(OffloadEngineTest, AnswersAsWithoutWhateverTheFormat) {
  for (const char* format : {"nf4", "int4-asym", "int8"}) {
    for (const CpuActivations activations : {CpuActivations::kFloat32, CpuActivations::kInt8}) {
      SCOPED_TRACE(absl::StrCat(format, " ", Name(activations)));
      EngineConfig config = OnCpu(1, std::nullopt);
      config.quantize.experts = *ParseQuantizationRecipe(format);
      config.activations = activations;
      const Answers expected = Ask(config);
      config.expert_places = 3;
      ExpectTheSame(expected, Ask(config));
    }
  }
}

TEST(OffloadEngineTest, GuessesMostOfWhatTheNextLayerNeeds) {
  const Answers got = Ask(OnCpu(1, 4));
  const ExpertCacheStats& offload = got.offload;
  // Two of eight by chance would be right a quarter of the time.
  EXPECT_GT(static_cast<double>(offload.num_prefetch_hits), 0.4 * static_cast<double>(offload.num_prefetched))
      << offload.num_prefetch_hits << " of " << offload.num_prefetched;
}

TEST(OffloadEngineTest, ChoosesAllPlacesWhereAllExpertsFit) {
  const Answers got = Ask(OnCpu(1, kAutoExpertPlaces));
  EXPECT_EQ(got.offload.num_needed, 0u);
}

TEST(OffloadEngineTest, NamesTheDirectoryThatItCannotWriteTo) {
  EngineConfig config = OnCpu(2, 1);
  config.offload_dir = "/no/such/place";
  const auto engine = Engine::Create(config, [](const StartupProgress&) {});
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(engine.status().message().find("--offload-dir /no/such/place"), std::string::npos) << engine.status();
}

TEST(OffloadEngineTest, RefusesMorePlacesThanThereAreExperts) {
  const auto engine = Engine::Create(OnCpu(1, 9), [](const StartupProgress&) {});
  ASSERT_TRUE(absl::IsInvalidArgument(engine.status())) << engine.status();
  for (const char* part : {"--offload-experts is 9", "8 experts per layer", "1 to 8", "auto"}) {
    EXPECT_NE(engine.status().message().find(part), std::string::npos) << engine.status();
  }
}

}  // namespace
}  // namespace switchyard
