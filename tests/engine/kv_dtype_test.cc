// The engine with KV pages of 8 bits, on the bundled model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/engine_plan.h"
#include "engine/exchange_choice.h"
#include "kernels/check.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModel[] = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";

EngineConfig Config(std::optional<DType> kv_dtype, int ranks = 1,
                    AttentionParallelism attention = AttentionParallelism::kReplicated) {
  return {.model_dir = kModel,
          .num_local_ranks = ranks,
          .attention = attention,
          .num_threads = 2,
          .max_model_len = 256,
          .kv_cache_bytes = int64_t{16} << 20,
          .kv_dtype = kv_dtype};
}

constexpr char kText[] =
    "In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness was "
    "upon the face of the deep. And the Spirit of God moved upon the face of the waters. And God said, Let there be "
    "light: and there was light. And God saw the light, that it was good: and God divided the light from the darkness. "
    "And God called the light Day, and the darkness he called Night. And the evening and the morning were the first "
    "day. And God said, Let there be a firmament in the midst of the waters, and let it divide the waters from the "
    "waters.";

// Log-probabilities of the reference sequences' positions and of a text's, 32 tokens a step.
std::vector<double> Scores(EngineConfig config) {
  config.max_batch_tokens = 32;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  std::ifstream file(absl::StrCat(kModel, "/golden.json"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  std::vector<GenerationRequest> requests = {ScoringRequest("text", engine->tokenizer()->Encode(kText, {}))};
  for (const auto& sequence : golden["sequences"]) {
    requests.push_back(ScoringRequest(absl::StrCat("score ", requests.size()), sequence["tokens"]));
  }
  std::vector<double> scores;
  for (const Completion& completion : RunTogether(*engine, requests)) {
    EXPECT_TRUE(completion.status.ok()) << completion.status;
    for (const PromptLogProb& position : completion.prompt_logprobs) scores.push_back(position.logprob);
  }
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
  return scores;
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Ascending.
std::vector<double> Differences(const std::vector<double>& a, const std::vector<double>& b) {
  CHECK_EQ(a.size(), b.size());
  std::vector<double> differences;
  for (size_t i = 0; i < a.size(); ++i) differences.push_back(std::abs(a[i] - b[i]));
  std::sort(differences.begin(), differences.end());
  return differences;
}

class KvDTypeEngineTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, KvDTypeEngineTest, testing::Values(DType::kFloat8E4M3, DType::kInt8),
                         [](const auto& info) { return Name(info.param); });

TEST_P(KvDTypeEngineTest, CostsNextToNothingInQuality) {
  const std::vector<double> exact = Scores(Config(std::nullopt));
  const std::vector<double> scores = Scores(Config(GetParam()));
  ASSERT_GT(exact.size(), 200u);
  const std::vector<double> differences = Differences(scores, exact);
  std::printf("log-probability %.4f instead of %.4f; change: mean %.4f, median %.4f, worst %.4f\n", Mean(scores),
              Mean(exact), Mean(differences), differences[differences.size() / 2], differences.back());
  EXPECT_NEAR(Mean(scores), Mean(exact), 0.01);
  EXPECT_LE(Mean(differences), 0.04);
  EXPECT_GT(Mean(differences), 1e-5) << "nothing was rounded";
}

TEST_P(KvDTypeEngineTest, RanksAndAttentionsAgree) {
  const std::vector<double> one = Scores(Config(GetParam()));
  EXPECT_EQ(Scores(Config(GetParam(), 1, AttentionParallelism::kTensorParallel)), one);
  for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
    SCOPED_TRACE(Name(attention));
    const std::vector<double> two = Scores(Config(GetParam(), 2, attention));
    EXPECT_NEAR(Mean(two), Mean(one), 1e-4);
    // Ranks sum in another order. An element that lies within a rounding of a tie gets the other neighbour then, and
    // moves the positions that see it.
    const std::vector<double> differences = Differences(two, one);
    EXPECT_LE(differences[differences.size() * 9 / 10], 1e-4);
    EXPECT_LE(differences.back(), 1e-2);
  }
}

TEST_P(KvDTypeEngineTest, PagesAreWrittenAnewAfterPreemption) {
  EngineConfig config = Config(GetParam(), 2);
  config.max_model_len = 128;
  const std::unique_ptr<Engine> roomy = StartEngine(config);
  const int64_t bytes_per_token = int64_t{2} * 4 * 2 * (64 + 4);
  config.admission = Admission::kOptimistic;
  config.kv_cache_bytes = 2 * 128 * bytes_per_token;  // two sequences of full length per rank
  const std::unique_ptr<Engine> cramped = StartEngine(config);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 20; ++i) {
    const std::vector<int32_t> prompt = roomy->tokenizer()->Encode(absl::StrCat("The number ", i, " and"), {});
    requests.push_back(GreedyRequest(absl::StrCat("request ", i), prompt, 60));
    requests.back().stop.ignore_eos = true;
  }
  const std::vector<Completion> expected = RunTogether(*roomy, requests);
  const std::vector<Completion> got = RunTogether(*cramped, requests);
  EXPECT_GT(cramped->Stats().num_preemptions, 0u);
  // A page that kept something of its former owner would spoil most of them; ties of rounding spoil hardly any.
  int num_equal = 0;
  for (size_t i = 0; i < requests.size(); ++i) num_equal += got[i].ids() == expected[i].ids() ? 1 : 0;
  EXPECT_GE(num_equal, 18);
}

DecoderSpec SmallSpec() {
  DecoderSpec spec;
  spec.vocab_size = 100;
  spec.hidden_size = 64;
  spec.num_layers = 2;
  spec.max_position_embeddings = 512;
  spec.num_heads = 8;
  spec.num_kv_heads = 4;
  spec.head_dim = 24;
  spec.num_experts = 8;
  spec.experts_per_token = 2;
  spec.expert_intermediate_size = 32;
  return spec;
}

TEST(KvDTypePlan, AGpuRefusesHeadsThatItsKernelsDoNotTake) {
  const EngineConfig config = {.device = DeviceKind::kCuda, .kv_dtype = DType::kFloat8E4M3};
  const absl::Status status = MakeEnginePlan(config, SmallSpec(), 1).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  for (const char* word : {"--kv-dtype fp8", "head_dim is 24", "multiples of 16", "--kv-dtype auto"}) {
    EXPECT_NE(status.message().find(word), std::string::npos) << status;
  }
  EXPECT_TRUE(MakeEnginePlan({.device = DeviceKind::kCuda}, SmallSpec(), 1).ok());
  EXPECT_TRUE(MakeEnginePlan({.kv_dtype = DType::kInt8}, SmallSpec(), 1).ok());
}

TEST(KvDTypePlan, TheSameMemoryHoldsMorePositions) {
  const EngineConfig config = {.kv_cache_bytes = int64_t{64} << 20};
  EngineConfig quantized = config;
  quantized.kv_dtype = DType::kInt8;
  const auto plan = MakeEnginePlan(config, SmallSpec(), 1);
  const auto quantized_plan = MakeEnginePlan(quantized, SmallSpec(), 1);
  ASSERT_TRUE(plan.ok() && quantized_plan.ok());
  // 24 floats, or 24 bytes and a scale.
  EXPECT_EQ(plan->kv_shape.BytesPerPage() * (24 + 4), quantized_plan->kv_shape.BytesPerPage() * 24 * 4);
  EXPECT_GT(quantized_plan->kv_shape.num_pages, 3 * plan->kv_shape.num_pages);
}

TEST(KvDTypePlan, TheExchangeIsChosenForActivationsNotForPages) {
  // All-reduce has the least latency and moves the most: bytes decide.
  const CollectiveCost slow_start = {.latency_seconds = 1e-4, .seconds_per_byte = 1e-9};
  const CollectiveCost slow_bytes = {.latency_seconds = 1e-5, .seconds_per_byte = 1e-8};
  const ExchangeCosts costs = {
      .all_to_all = slow_start, .all_gather = slow_start, .reduce_scatter = slow_start, .all_reduce = slow_bytes};
  EngineConfig config = {.attention = AttentionParallelism::kTensorParallel};
  std::vector<std::vector<ExchangeStrategy>> choices;
  for (const auto kv_dtype : {std::optional<DType>(), std::optional(DType::kInt8)}) {
    config.kv_dtype = kv_dtype;
    const auto plan = MakeEnginePlan(config, SmallSpec(), 2);
    ASSERT_TRUE(plan.ok()) << plan.status();
    std::vector<ExchangeStrategy>& chosen = choices.emplace_back();
    for (int32_t tokens = 1; tokens <= 1024; tokens *= 2) {
      const Batch batch = {.tokens = std::vector<int32_t>(tokens, 1), .sequences = {{.num_tokens = tokens}}};
      chosen.push_back(ChooseStepExchange(costs, *plan, SmallSpec(), batch));
    }
    EXPECT_NE(chosen.front(), chosen.back()) << "the sizes span a change of choice";
  }
  EXPECT_EQ(choices[0], choices[1]);
}

}  // namespace
}  // namespace switchyard
