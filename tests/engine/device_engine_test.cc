#include "tests/engine/device_engine_test.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "parallel/communicators/nccl.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kBundledModel[] = "tiny-mixtral";

// The references are float32 on weights of bfloat16, float16 or float32. Rounding every activation moves nine in ten
// log-probabilities by less than this: 40 times half a unit in the last place, twice what was seen (the table in
// docs/GPU_RESULTS.md). A position whose router all but ties may get another expert instead, and moves by any amount.
double LogProbTolerance(DType dtype) { return 40 * (dtype == DType::kFloat16 ? 0x1p-11 : 0x1p-8); }
constexpr size_t kOneOutlierIn = 10;

struct Continuation {
  std::vector<int32_t> prompt;
  std::vector<int32_t> tokens;
  std::vector<double> margins;  // between the best two log-probabilities, for each token; empty: all are wide
  bool is_trained = false;      // an answer of the bundled model, up to the end of the text
};

struct Reference {
  struct Scores {
    std::vector<int32_t> tokens;
    std::vector<double> logprobs;  // of tokens[1..]
    std::vector<int32_t> top1;     // [tokens]
    std::vector<double> margins;   // [tokens]; empty: all are wide
  };
  std::vector<Scores> scores;
  std::vector<Continuation> continuations;
};

std::string Directory(const DeviceEngineCase& c, const std::string& source_dir) {
  return source_dir + (c.checkpoint == kBundledModel ? "/models/" : "/tests/golden/") + c.checkpoint;
}

Reference ReadReference(const std::string& directory) {
  std::ifstream file(directory + "/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  Reference reference;
  for (const auto& sequence : golden["sequences"]) {
    reference.scores.push_back({sequence["tokens"], sequence["logprobs"], sequence["top1"],
                                sequence.value("top1_margin", std::vector<double>())});
  }
  if (golden.contains("greedy")) {
    const auto& greedy = golden["greedy"];
    reference.continuations.push_back({greedy["prompt"], greedy["continuation"], greedy["margins"]});
    // The same from two tokens further on, so that two sequences decode together in different places.
    Continuation later = reference.continuations.front();
    later.prompt.insert(later.prompt.end(), later.tokens.begin(), later.tokens.begin() + 2);
    later.tokens.erase(later.tokens.begin(), later.tokens.begin() + 2);
    later.margins.erase(later.margins.begin(), later.margins.begin() + 2);
    reference.continuations.push_back(later);
  }
  for (const auto& chat : golden.value("chats", nlohmann::json::array())) {
    reference.continuations.push_back({chat["prompt_tokens"], chat["answer_tokens"], {}, /*is_trained=*/true});
  }
  return reference;
}

// What a smaller test looks at.
void Shorten(const DeviceEngineSetting& setting, Reference& reference) {
  const auto limit = [](auto& values, int most) {
    if (values.size() > static_cast<size_t>(most)) values.resize(static_cast<size_t>(most));
  };
  // The longest are the last.
  const size_t num_dropped = reference.scores.size() - std::min<size_t>(reference.scores.size(), setting.max_sequences);
  reference.scores.erase(reference.scores.begin(), reference.scores.begin() + static_cast<int64_t>(num_dropped));
  for (Reference::Scores& scores : reference.scores) {
    limit(scores.tokens, setting.max_scored_tokens);
    limit(scores.logprobs, setting.max_scored_tokens - 1);
  }
  limit(reference.continuations, std::max(2, setting.max_sequences));
  for (Continuation& continuation : reference.continuations) limit(continuation.tokens, setting.max_generated_tokens);
}

// "2.30.1" and later let ranks share a GPU; without that the engine stages its collectives.
bool NcclSharesGpus() {
  int major = 0, minor = 0;
  return std::sscanf(NcclVersion().c_str(), "%d.%d", &major, &minor) == 2 && (major > 2 || minor >= 30);
}

bool RecordsSteps(const DeviceEngineCase& c, int num_gpus) {
  if (!c.graphs) return false;
  if (c.ranks == 1) return true;
  // Recorded is what has a fixed size, over NCCL.
  const bool is_staged = c.staged || (c.ranks > num_gpus && !NcclSharesGpus());
  return !is_staged && c.exchange != ExchangeStrategy::kAllToAll;
}

// How a sequence, or all of them, differ from the reference.
struct Differences {
  std::vector<double> errors;  // of log-probabilities
  size_t num_top1 = 0;         // positions whose best two candidates are further apart than the rounding
  size_t num_other_top1 = 0;   // of those, with another best one
};

void CompareScores(const Reference::Scores& expected, const Completion& got, double tolerance,
                   Differences& differences) {
  ASSERT_TRUE(got.status.ok()) << got.status;
  ASSERT_EQ(got.prompt_logprobs.size(), expected.logprobs.size());
  for (size_t i = 0; i < expected.logprobs.size(); ++i) {
    const PromptLogProb& position = got.prompt_logprobs[i];
    ASSERT_TRUE(std::isfinite(position.logprob)) << "position " << i;
    differences.errors.push_back(std::abs(position.logprob - expected.logprobs[i]));
    if (expected.margins.empty() || expected.margins[i] <= 2 * tolerance) continue;
    ++differences.num_top1;
    if (position.top1 != expected.top1[i]) ++differences.num_other_top1;
  }
}

void ExpectFewOutliers(Differences differences, double tolerance, const std::string& device) {
  std::vector<double>& errors = differences.errors;
  ASSERT_FALSE(errors.empty());
  std::sort(errors.begin(), errors.end());
  const double ninth_decile = errors[errors.size() - 1 - errors.size() / kOneOutlierIn];
  EXPECT_LE(ninth_decile, tolerance);
  EXPECT_LE(differences.num_other_top1, differences.num_top1 / kOneOutlierIn) << "of " << differences.num_top1;
  std::printf("log-probability errors: median %.5f, nine in ten below %.5f, largest %.5f (%s)\n",
              errors[errors.size() / 2], ninth_decile, errors.back(), device.c_str());
}

void ExpectContinuation(const Continuation& expected, const Completion& got, double tolerance) {
  ASSERT_TRUE(got.status.ok()) << got.status;
  const std::vector<int32_t> ids = got.ids();
  ASSERT_EQ(ids.size(), expected.tokens.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == expected.tokens[i]) continue;
    // From the first choice that rounding may turn the other way, the two are different texts.
    ASSERT_FALSE(expected.margins.empty() || expected.margins[i] > 2 * tolerance)
        << "token " << i << " is " << ids[i] << ", not " << expected.tokens[i];
    return;
  }
}

}  // namespace

std::string Describe(const DeviceEngineCase& c) {
  return absl::StrReplaceAll(
      absl::StrCat(c.checkpoint, "_", c.ranks, "_ranks_", Name(c.attention), "_",
                   c.exchange.has_value() ? Name(*c.exchange) : "auto", c.graphs ? "" : "_eager",
                   c.staged ? "_staged" : "", c.dtype == DType::kFloat16 ? "" : absl::StrCat("_", Name(c.dtype))),
      {{"-", "_"}});
}

void PrintTo(const DeviceEngineCase& c, std::ostream* out) { *out << Describe(c); }

std::vector<DeviceEngineCase> DeviceEngineCases(const std::string& source_dir) {
  using enum AttentionParallelism;
  using enum ExchangeStrategy;
  std::vector<DeviceEngineCase> cases = {
      {"top2-of-8", 1, kReplicated, std::nullopt, /*graphs=*/false},
      {"top2-of-8", 2, kReplicated, kAllToAll},
      {"top2-of-8", 2, kReplicated, kAllReduce},
      {"top2-of-8", 2, kTensorParallel, kAllGather, /*graphs=*/false},
      {"top2-of-8", 2, kTensorParallel, kAllToAll},
      {"top2-of-8", 2, kTensorParallel, kAllReduce},
      {"top2-of-8", 2, kTensorParallel, kAllGather, /*graphs=*/true, /*staged=*/true},
      {"top2-of-8", 2, kReplicated, kAllToAll, /*graphs=*/true, /*staged=*/true},
      {"top2-of-8", 3, kReplicated, kAllGather},
  };
  std::vector<std::string> names = {kBundledModel};
  for (const auto& entry : std::filesystem::directory_iterator(source_dir + "/tests/golden")) {
    if (std::filesystem::exists(entry.path() / "golden.json")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    cases.push_back({name, 1, kReplicated, std::nullopt});
    cases.push_back({name, 2, kReplicated, kAllGather});
    // Their heads do not divide.
    if (name != "top3-of-6" && name != "hf-tied-single-kv-head") {
      cases.push_back({name, 2, kTensorParallel, kAllGather});
    }
  }
  for (const std::string& name :
       {std::string("top2-of-8"), std::string("hf-sliding-window"), std::string(kBundledModel)}) {
    cases.push_back({.checkpoint = name, .ranks = 1, .dtype = DType::kBFloat16});
    cases.push_back({.checkpoint = name,
                     .ranks = 2,
                     .attention = kTensorParallel,
                     .exchange = kAllGather,
                     .dtype = DType::kBFloat16});
  }
  return cases;
}

void ExpectScoresAndContinuationsOfTheReference(const DeviceEngineCase& c, const DeviceEngineSetting& setting) {
  const std::string directory = Directory(c, setting.source_dir);
  Reference reference = ReadReference(directory);
  Shorten(setting, reference);
  size_t longest = 0;
  std::vector<GenerationRequest> requests;
  for (const Reference::Scores& scores : reference.scores) {
    requests.push_back(ScoringRequest(absl::StrCat("score ", requests.size()), scores.tokens));
    longest = std::max(longest, scores.tokens.size());
  }
  for (const Continuation& continuation : reference.continuations) {
    requests.push_back(GreedyRequest(absl::StrCat("continue ", requests.size()), continuation.prompt,
                                     static_cast<int32_t>(continuation.tokens.size())));
    requests.back().stop.ignore_eos = !continuation.is_trained;
    longest = std::max(longest, continuation.prompt.size() + continuation.tokens.size());
  }

  EngineConfig config = {.model_dir = directory,
                         .device = DeviceKind::kCuda,
                         .attention = c.attention,
                         .exchange = c.exchange,
                         .max_model_len = static_cast<int64_t>(longest) + 1,
                         .kv_cache_bytes = int64_t{4} << 20,
                         .max_batch_tokens = setting.max_batch_tokens,
                         .max_running_requests = 3,
                         .page_size = 4,
                         .dtype = c.dtype,
                         .cuda_graphs = c.graphs,
                         .gpu_reserve_bytes = 0,
                         .staged_collectives = c.staged};
  for (int i = 0; i < c.ranks; ++i) config.gpus.push_back(i % setting.num_gpus);
  const absl::StatusOr<std::unique_ptr<Engine>> created = Engine::Create(config, [](const StartupProgress&) {});
  ASSERT_TRUE(created.ok()) << created.status();
  Engine* const engine = created->get();
  const std::string& device = engine->model_info().device;
  EXPECT_EQ(device.find("recorded steps") != std::string::npos, RecordsSteps(c, setting.num_gpus)) << device;

  const std::vector<Completion> done = RunTogether(*engine, requests);
  const double tolerance = LogProbTolerance(c.dtype);
  Differences differences;
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(requests[i].id);
    if (i < reference.scores.size()) {
      CompareScores(reference.scores[i], done[i], tolerance, differences);
    } else {
      const Continuation& expected = reference.continuations[i - reference.scores.size()];
      // A random model's continuation in bfloat16 is another from the first near tie of a router on.
      if (c.dtype == DType::kFloat16 || expected.is_trained) ExpectContinuation(expected, done[i], tolerance);
    }
  }
  ExpectFewOutliers(std::move(differences), tolerance, device);
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
}

}  // namespace switchyard
