// The engine with and without its prefix cache: the same answers, fewer tokens computed.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModels[] = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";
constexpr char kGoldens[] = SWITCHYARD_SOURCE_DIR "/tests/golden";
constexpr int64_t kPageSize = 4;

EngineConfig Config(const std::string& model, int ranks, AttentionParallelism attention) {
  return {.model_dir = model,
          .num_local_ranks = ranks,
          .attention = attention,
          .num_threads = 1,
          .max_model_len = 64,
          .kv_cache_bytes = int64_t{8} << 20,
          .max_batch_tokens = 32,  // so few that saving some decides where a sequence goes
          .page_size = kPageSize};
}
EngineConfig TinyConfig() { return Config(kModels, 1, AttentionParallelism::kReplicated); }

std::unique_ptr<Engine> StartWithout(EngineConfig config) {
  config.prefix_caching = false;
  return StartEngine(config);
}

std::vector<int32_t> RandomTokens(uint32_t seed, int64_t count, int64_t vocab_size) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(random() % vocab_size));
  return tokens;
}

GenerationRequest Request(const std::string& id, std::vector<int32_t> prompt) {
  GenerationRequest request = GreedyRequest(id, std::move(prompt), 10);
  request.num_logprobs = 2;
  request.stop.ignore_eos = true;
  return request;
}

std::vector<float> LogProbs(const Completion& completion) {
  std::vector<float> logprobs;
  for (const GeneratedToken& token : completion.tokens) {
    logprobs.push_back(token.logprob);
    for (const TokenLogProb& entry : token.top) logprobs.push_back(entry.logprob);
  }
  for (const PromptLogProb& entry : completion.prompt_logprobs) logprobs.push_back(entry.logprob);
  return logprobs;
}

void ExpectSame(const Completion& got, const Completion& expected, float tolerance) {
  EXPECT_EQ(got.finish, expected.finish) << got.status;
  EXPECT_EQ(got.ids(), expected.ids());
  const std::vector<float> got_logprobs = LogProbs(got);
  const std::vector<float> expected_logprobs = LogProbs(expected);
  ASSERT_EQ(got_logprobs.size(), expected_logprobs.size());
  for (size_t i = 0; i < got_logprobs.size(); ++i) EXPECT_NEAR(got_logprobs[i], expected_logprobs[i], tolerance) << i;
}

// Rounds of requests at a time: a first prompt; it again, with a continuation and with another end; several alike at
// once that are new; and a text that goes on after an answer.
std::vector<std::vector<Completion>> RunRounds(Engine& engine) {
  const int64_t vocab_size = engine.model_info().spec.vocab_size;
  const std::vector<int32_t> first = RandomTokens(1, 23, vocab_size);
  std::vector<int32_t> longer = first;
  longer.insert(longer.end(), {3, 1, 2, 1});
  std::vector<int32_t> other(first.begin(), first.begin() + 14);
  other.insert(other.end(), {1, 2, 3});
  const std::vector<int32_t> fresh = RandomTokens(2, 19, vocab_size);
  std::vector<std::vector<Completion>> rounds;
  rounds.push_back(RunTogether(engine, {Request("first", first)}));
  rounds.push_back(RunTogether(engine, {Request("again", first), Request("longer", longer), Request("other", other)}));
  rounds.push_back(RunTogether(engine, {Request("one", fresh), Request("two", fresh), Request("three", fresh)}));
  std::vector<int32_t> continued = first;
  for (const int32_t id : rounds[0][0].ids()) continued.push_back(id);
  continued.insert(continued.end(), {1, 2});
  rounds.push_back(RunTogether(engine, {Request("continued", continued)}));
  EXPECT_EQ(engine.Stats().kv_pages_used, 0);
  return rounds;
}

void ExpectSameRounds(const EngineConfig& config, float tolerance) {
  const std::unique_ptr<Engine> with = StartEngine(config);
  const auto got = RunRounds(*with);
  const auto expected = RunRounds(*StartWithout(config));
  int32_t cached = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    for (size_t j = 0; j < got[i].size(); ++j) {
      SCOPED_TRACE(absl::StrCat("round ", i, ", request ", j));
      ExpectSame(got[i][j], expected[i][j], tolerance);
      EXPECT_EQ(expected[i][j].usage.cached_tokens, 0);
      cached += got[i][j].usage.cached_tokens;
    }
  }
  // Four pages lie within the first 19 tokens, three within 14, five within 23, eight within all but the last of 35.
  EXPECT_EQ(got[0][0].usage.cached_tokens, 0);
  EXPECT_EQ(got[1][0].usage.cached_tokens, 5 * kPageSize);
  EXPECT_EQ(got[1][1].usage.cached_tokens, 5 * kPageSize);
  EXPECT_EQ(got[1][2].usage.cached_tokens, 3 * kPageSize);
  EXPECT_EQ(got[3][0].usage.cached_tokens, 8 * kPageSize);
  EXPECT_EQ(with->Stats().prefix_cache_hits, static_cast<uint64_t>(cached));
  EXPECT_EQ(with->Stats().prefix_cache_queries, 23u + 23u + 27u + 17u + 3u * 19u + 35u);
}

TEST(PrefixCacheEngine, AnswersAreTheSameWithEveryModelAndDivision) {
  for (const char* model : {"hf-defaults", "hf-rope-yarn", "hf-sliding-window", "top2-of-8"}) {
    for (const int ranks : {1, 2}) {
      for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
        SCOPED_TRACE(absl::StrCat(model, ", ", ranks, " ranks, ", Name(attention)));
        ExpectSameRounds(Config(absl::StrCat(kGoldens, "/", model), ranks, attention), 2e-5f);
      }
    }
  }
}

TEST(PrefixCacheEngine, AnswersAreTheSameInSmallSteps) {
  EngineConfig config = TinyConfig();
  config.max_batch_tokens = 10;
  ExpectSameRounds(config, 2e-5f);
}

// A position's numbers do not depend on where the prompt before it was cut, nor on what else is in the step: as long as
// what is found was computed as part of a prompt, too.
void ExpectBitIdentical(EngineConfig config, int64_t stride = 1) {
  config.max_batch_tokens = 128;  // no prompt is cut so that its last token is alone
  const std::unique_ptr<Engine> with = StartEngine(config);
  const std::unique_ptr<Engine> without = StartWithout(config);
  const int64_t vocab_size = with->model_info().spec.vocab_size;
  for (int64_t length = 2; length < 54; length += stride) {
    SCOPED_TRACE(length);
    GenerationRequest longer = GreedyRequest("longer", RandomTokens(7, 54, vocab_size), 1);
    GenerationRequest request = Request("r", RandomTokens(7, length, vocab_size));
    longer.cache_salt = request.cache_salt = absl::StrCat(length);
    RunAlone(*with, longer);
    const Completion expected = RunAlone(*without, request);
    const Completion got = RunAlone(*with, request);
    ExpectSame(got, expected, 0);
    EXPECT_EQ(got.usage.cached_tokens, (length - 2) / kPageSize * kPageSize);
  }
}

TEST(PrefixCacheEngine, OneRanksAnswersAreTheSameBits) {
  ExpectBitIdentical(TinyConfig());
  ExpectBitIdentical(Config(absl::StrCat(kGoldens, "/hf-sliding-window"), 1, AttentionParallelism::kReplicated));
}

TEST(PrefixCacheEngine, TwoRanksAnswersAreTheSameBitsWithOneExchange) {
  const std::pair<AttentionParallelism, ExchangeStrategy> cases[] = {
      {AttentionParallelism::kReplicated, ExchangeStrategy::kAllToAll},
      {AttentionParallelism::kTensorParallel, ExchangeStrategy::kAllGather},
      {AttentionParallelism::kTensorParallel, ExchangeStrategy::kAllReduce}};
  for (const auto& [attention, exchange] : cases) {
    SCOPED_TRACE(absl::StrCat(Name(attention), ", ", Name(exchange)));
    EngineConfig config = Config(kModels, 2, attention);
    config.exchange = exchange;
    ExpectBitIdentical(config, /*stride=*/9);
  }
}

TEST(PrefixCacheEngine, OneRanksAnswersAreTheSameBitsWithEightBitPagesAndActivations) {
  EngineConfig config = TinyConfig();
  config.kv_dtype = DType::kInt8;
  config.activations = CpuActivations::kInt8;
  config.quantize.experts = config.quantize.attention = *ParseQuantizationRecipe("int4");
  ExpectBitIdentical(config);
}

TEST(PrefixCacheEngine, ScoresAreTheSameBitsWhateverIsCached) {
  EngineConfig config = TinyConfig();
  config.max_batch_tokens = 16;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  const std::vector<int32_t> tokens = RandomTokens(3, 45, 2048);
  const std::vector<float> expected = LogProbs(RunAlone(*engine, ScoringRequest("first", tokens)));
  const Completion generated = RunAlone(*engine, Request("generate", tokens));
  EXPECT_EQ(generated.usage.cached_tokens, 40);
  std::vector<int32_t> half(tokens.begin(), tokens.begin() + 21);
  RunAlone(*engine, Request("half", half));
  for (int i = 0; i < 2; ++i) {
    const Completion again = RunAlone(*engine, ScoringRequest("again", tokens));
    EXPECT_EQ(LogProbs(again), expected);
    EXPECT_EQ(again.usage.cached_tokens, 0);
  }
}

TEST(PrefixCacheEngine, EightBitPagesAreSharedAsTheyAre) {
  for (const DType dtype : {DType::kInt8, DType::kFloat8E4M3}) {
    EngineConfig config = TinyConfig();
    config.kv_dtype = dtype;
    const std::unique_ptr<Engine> with = StartEngine(config);
    const std::vector<int32_t> prompt = RandomTokens(4, 30, 2048);
    const Completion first = RunAlone(*with, Request("first", prompt));
    const Completion again = RunAlone(*with, Request("again", prompt));
    EXPECT_EQ(again.usage.cached_tokens, 28);
    ExpectSame(again, first, 1e-3f);
  }
}

TEST(PrefixCacheEngine, SamplingDrawsTheSameBehindACachedBeginning) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  GenerationRequest request = Request("r", RandomTokens(5, 27, 2048));
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 11;
  request.sampling.repetition_penalty = 1.2f;
  const Completion first = RunAlone(*engine, request);
  const Completion again = RunAlone(*engine, request);
  EXPECT_EQ(again.usage.cached_tokens, 24);
  ExpectSame(again, first, 2e-5f);
}

TEST(PrefixCacheEngine, FewPagesServeManyTextsInTurn) {
  EngineConfig config = TinyConfig();
  config.max_model_len = 48;
  config.max_batch_tokens = 256;
  constexpr int64_t kTokenBytes = int64_t{2} * 4 * 2 * 64 * 4;  // keys and values, layers, heads, floats
  config.kv_cache_bytes = 24 * kPageSize * kTokenBytes;         // of which one text takes up to eleven
  const std::unique_ptr<Engine> with = StartEngine(config);
  const std::unique_ptr<Engine> without = StartWithout(config);
  ASSERT_EQ(with->Stats().kv_pages_total, 24);
  std::mt19937 random(6);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 40; ++i) {
    std::vector<int32_t> prompt = RandomTokens(random() % 3, 12 + random() % 20, 2048);
    requests.push_back(Request(absl::StrCat("r", i), prompt));
  }
  const std::vector<Completion> got = RunTogether(*with, requests);
  const std::vector<Completion> expected = RunTogether(*without, requests);
  for (size_t i = 0; i < got.size(); ++i) ExpectSame(got[i], expected[i], 2e-5f);
  EXPECT_GT(with->Stats().prefix_cache_hits, 0u);
  EXPECT_EQ(with->Stats().kv_pages_used, 0);
}

}  // namespace
}  // namespace switchyard
