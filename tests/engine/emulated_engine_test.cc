// The whole engine on emulated GPUs: the CUDA kernels, backend and graphs and the NCCL communicator, against reference
// log-probabilities of another implementation. A GPU differs in speed, cuBLASLt and NCCL only.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

// Activations and weights have 11 bits; the checkpoints' are bfloat16 or float32. Largest seen: see
// docs/GPU_RESULTS.md.
constexpr double kLogProbTolerance = 2e-2;
constexpr int kMaxScoredTokens = 24;  // a fiber per CUDA thread takes its time
constexpr int kMaxGeneratedTokens = 6;

struct Case {
  std::string checkpoint;
  int ranks;
  AttentionParallelism attention;
  std::optional<ExchangeStrategy> exchange;
  bool graphs = true;
  bool staged = false;
};

std::string Describe(const Case& c) {
  return absl::StrReplaceAll(absl::StrCat(c.checkpoint, "_", c.ranks, "_ranks_", Name(c.attention), "_",
                                          c.exchange.has_value() ? Name(*c.exchange) : "auto", c.graphs ? "" : "_eager",
                                          c.staged ? "_staged" : ""),
                             {{"-", "_"}});
}

void PrintTo(const Case& c, std::ostream* out) { *out << Describe(c); }

class EmulatedEngineTest : public testing::TestWithParam<Case> {
 protected:
  static std::string Directory() { return SWITCHYARD_SOURCE_DIR "/tests/golden/" + GetParam().checkpoint; }

  static EngineConfig Config() {
    const Case& c = GetParam();
    EngineConfig config = {.model_dir = Directory(),
                           .device = DeviceKind::kCuda,
                           .attention = c.attention,
                           .exchange = c.exchange,
                           .max_model_len = 64,
                           .kv_cache_bytes = int64_t{1} << 20,
                           .max_batch_tokens = 32,
                           .max_running_requests = 3,
                           .page_size = 4,
                           .dtype = DType::kFloat16,
                           .cuda_graphs = c.graphs,
                           .gpu_reserve_bytes = 0,
                           .staged_collectives = c.staged};
    for (int i = 0; i < c.ranks; ++i) config.gpus.push_back(i % 2);
    return config;
  }
};

TEST_P(EmulatedEngineTest, ScoresAndContinuesAsTheReference) {
  std::ifstream file(Directory() + "/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  const std::unique_ptr<Engine> engine = StartEngine(Config());
  // Steps are recorded where every collective has a fixed size and is NCCL's, which lets no ranks share a GPU here.
  const bool is_staged = GetParam().staged || GetParam().ranks > 2;
  const bool records = GetParam().graphs &&
                       (GetParam().ranks == 1 || (!is_staged && GetParam().exchange != ExchangeStrategy::kAllToAll));
  EXPECT_EQ(engine->model_info().device.find("recorded steps") != std::string::npos, records)
      << engine->model_info().device;

  std::vector<GenerationRequest> requests;
  const auto& sequence = golden["sequences"][0];
  std::vector<int32_t> tokens = sequence["tokens"];
  tokens.resize(std::min<size_t>(tokens.size(), kMaxScoredTokens));
  requests.push_back(ScoringRequest("score", tokens));
  // Two that decode together, in different places of their sequences.
  const std::vector<int32_t> prompt = golden["greedy"]["prompt"];
  const std::vector<int32_t> continuation = golden["greedy"]["continuation"];
  requests.push_back(GreedyRequest("greedy", prompt, kMaxGeneratedTokens));
  requests.back().stop.ignore_eos = true;
  std::vector<int32_t> longer = prompt;
  longer.insert(longer.end(), continuation.begin(), continuation.begin() + 2);
  requests.push_back(GreedyRequest("later", longer, kMaxGeneratedTokens - 2));
  requests.back().stop.ignore_eos = true;

  const std::vector<Completion> done = RunTogether(*engine, requests);
  ASSERT_TRUE(done[0].status.ok()) << done[0].status;
  const std::vector<double> logprobs = sequence["logprobs"];
  const std::vector<int32_t> top1 = sequence["top1"];
  const std::vector<double> margins = sequence["top1_margin"];
  ASSERT_EQ(done[0].prompt_logprobs.size(), tokens.size() - 1);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    EXPECT_NEAR(done[0].prompt_logprobs[i].logprob, logprobs[i], kLogProbTolerance) << "position " << i;
    if (margins[i] > 2 * kLogProbTolerance) {
      EXPECT_EQ(done[0].prompt_logprobs[i].top1, top1[i]) << "position " << i;
    }
  }
  const std::vector<int32_t> expected(continuation.begin(), continuation.begin() + kMaxGeneratedTokens);
  EXPECT_EQ(done[1].ids(), expected);
  EXPECT_EQ(done[2].ids(), std::vector<int32_t>(expected.begin() + 2, expected.end()));
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
}

std::vector<Case> Cases() {
  using enum AttentionParallelism;
  using enum ExchangeStrategy;
  std::vector<Case> cases = {
      {"top2-of-8", 1, kReplicated, std::nullopt, /*graphs=*/false},
      {"top2-of-8", 2, kReplicated, kAllToAll},
      {"top2-of-8", 2, kReplicated, kAllReduce},
      {"top2-of-8", 2, kTensorParallel, kAllGather, /*graphs=*/false},
      {"top2-of-8", 2, kTensorParallel, kAllToAll},
      {"top2-of-8", 2, kTensorParallel, kAllReduce},
      {"top2-of-8", 2, kTensorParallel, kAllGather, /*graphs=*/true, /*staged=*/true},
      {"top2-of-8", 2, kReplicated, kAllToAll, /*graphs=*/true, /*staged=*/true},
      {"top2-of-8", 3, kReplicated, kAllGather},  // two ranks share a GPU
  };
  for (const auto& entry : std::filesystem::directory_iterator(SWITCHYARD_SOURCE_DIR "/tests/golden")) {
    if (!std::filesystem::exists(entry.path() / "golden.json")) continue;
    const std::string name = entry.path().filename();
    cases.push_back({name, 1, kReplicated, std::nullopt});
    cases.push_back({name, 2, kReplicated, kAllGather});
    if (name != "top3-of-6" && name != "hf-tied-single-kv-head")
      cases.push_back({name, 2, kTensorParallel, kAllGather});
  }
  std::sort(cases.begin() + 9, cases.end(), [](const Case& a, const Case& b) { return Describe(a) < Describe(b); });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Gpus, EmulatedEngineTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return Describe(info.param); });

}  // namespace
}  // namespace switchyard
