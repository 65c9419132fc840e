// The engine against reference log-probabilities and greedy continuations computed by another implementation, over
// ranks, attention, exchange, chunked prefill and batching.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
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

constexpr double kLogProbTolerance = 1e-3;

nlohmann::json ReadGolden(const std::string& directory) {
  std::ifstream file(directory + "/golden.json");
  return nlohmann::json::parse(file);
}

std::vector<std::string> GoldenCheckpoints() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SWITCHYARD_SOURCE_DIR "/tests/golden")) {
    if (std::filesystem::exists(entry.path() / "golden.json")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Parallelism {
  int ranks;
  AttentionParallelism attention;
  std::optional<ExchangeStrategy> exchange;
};

std::vector<Parallelism> EveryParallelism() {
  std::vector<Parallelism> all;
  for (const int ranks : {1, 2, 3, 4}) {
    for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
      all.push_back({ranks, attention, std::nullopt});
      for (const auto exchange :
           {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
        all.push_back({ranks, attention, exchange});
      }
    }
  }
  return all;
}

using GoldenParam = std::tuple<std::string, Parallelism>;

class GoldenTest : public testing::TestWithParam<GoldenParam> {
 protected:
  // Null where the heads do not divide, after checking that the refusal says so.
  std::unique_ptr<Engine> Start(int64_t max_batch_tokens) {
    const auto& [name, parallelism] = GetParam();
    const EngineConfig config = {.model_dir = Directory(),
                                 .num_local_ranks = parallelism.ranks,
                                 .attention = parallelism.attention,
                                 .exchange = parallelism.exchange,
                                 .num_threads = 1,
                                 .kv_cache_bytes = int64_t{16} << 20,
                                 .max_batch_tokens = max_batch_tokens};
    const auto spec = (*Checkpoint::Open(Directory()))->spec();
    if (parallelism.attention == AttentionParallelism::kReplicated ||
        (spec.num_kv_heads % parallelism.ranks == 0 && spec.num_heads % parallelism.ranks == 0)) {
      return StartEngine(config);
    }
    absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(config, [](const StartupProgress&) {});
    EXPECT_TRUE(absl::IsInvalidArgument(engine.status())) << engine.status();
    EXPECT_NE(engine.status().message().find("does not divide"), std::string::npos) << engine.status();
    return nullptr;
  }

  std::string Directory() const { return SWITCHYARD_SOURCE_DIR "/tests/golden/" + std::get<0>(GetParam()); }

  static void ExpectScores(const nlohmann::json& golden, const Completion& got, const std::string& where) {
    const std::vector<double> logprobs = golden["logprobs"];
    const std::vector<int32_t> top1 = golden["top1"];
    const std::vector<double> margins = golden["top1_margin"];
    ASSERT_EQ(got.prompt_logprobs.size(), logprobs.size()) << where;
    for (size_t i = 0; i < logprobs.size(); ++i) {
      EXPECT_NEAR(got.prompt_logprobs[i].logprob, logprobs[i], kLogProbTolerance) << where << ", position " << i;
    }
    for (size_t i = 0; i < top1.size(); ++i) {
      // Two candidates nearer to each other than the tolerance may change places.
      if (margins[i] < kLogProbTolerance) continue;
      const int32_t id = i < logprobs.size() ? got.prompt_logprobs[i].top1 : got.prompt_top1;
      EXPECT_EQ(id, top1[i]) << where << ", position " << i;
    }
  }
};

TEST_P(GoldenTest, ScoresAndGreedyContinuationsEqualTheReference) {
  const nlohmann::json golden = ReadGolden(Directory());
  // 7 tokens a step split every longer sequence into chunks, at places that are no page borders.
  for (const int64_t max_batch_tokens : {2048, 7}) {
    const std::unique_ptr<Engine> engine = Start(max_batch_tokens);
    if (engine == nullptr) return;
    std::vector<GenerationRequest> requests;
    for (const auto& sequence : golden["sequences"]) {
      requests.push_back(ScoringRequest(absl::StrCat("score ", requests.size()), sequence["tokens"]));
    }
    const auto& greedy = golden["greedy"];
    const std::vector<int32_t> continuation = greedy["continuation"];
    GenerationRequest generate = GreedyRequest("greedy", greedy["prompt"], static_cast<int32_t>(continuation.size()));
    generate.stop.ignore_eos = true;
    requests.push_back(generate);

    const std::vector<Completion> together = RunTogether(*engine, requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      const Completion alone = RunAlone(*engine, requests[i]);
      if (i + 1 == requests.size()) {
        EXPECT_EQ(together[i].ids(), continuation) << max_batch_tokens << " tokens a step, together";
        EXPECT_EQ(alone.ids(), continuation) << max_batch_tokens << " tokens a step, alone";
        continue;
      }
      ExpectScores(golden["sequences"][i], together[i], absl::StrCat("together, sequence ", i));
      ExpectScores(golden["sequences"][i], alone, absl::StrCat("alone, sequence ", i));
    }
    EXPECT_EQ(engine->Stats().kv_pages_used, 0);
  }
}

std::string ParamName(const testing::TestParamInfo<GoldenParam>& info) {
  const auto& [name, parallelism] = info.param;
  const std::string exchange = parallelism.exchange.has_value() ? Name(*parallelism.exchange) : "auto";
  return absl::StrReplaceAll(
      absl::StrCat(name, "_", parallelism.ranks, "_ranks_", Name(parallelism.attention), "_", exchange),
      {{"-", "_"}, {".", "_"}});
}

INSTANTIATE_TEST_SUITE_P(EveryParallelism, GoldenTest,
                         testing::Combine(testing::ValuesIn(GoldenCheckpoints()),
                                          testing::ValuesIn(EveryParallelism())),
                         ParamName);

}  // namespace
}  // namespace switchyard
