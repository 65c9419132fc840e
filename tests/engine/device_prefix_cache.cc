#include "tests/engine/device_prefix_cache.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr int64_t kPageSize = 4;

// As LogProbTolerance of device_engine_test.cc, in float16.
constexpr double kTolerance = 40 * 0x1p-11;

GenerationRequest Request(const std::string& id, const std::vector<int32_t>& prompt) {
  GenerationRequest request = GreedyRequest(id, prompt, 4);
  request.num_logprobs = 0;
  request.stop.ignore_eos = true;
  return request;
}

void ExpectSame(const Completion& got, const Completion& expected) {
  ASSERT_TRUE(got.status.ok()) << got.status;
  ASSERT_EQ(got.ids(), expected.ids());
  for (size_t i = 0; i < got.tokens.size(); ++i) {
    EXPECT_NEAR(got.tokens[i].logprob, expected.tokens[i].logprob, kTolerance) << i;
  }
}

void Check(const EngineConfig& config, const std::vector<int32_t>& tokens) {
  const std::unique_ptr<Engine> engine = StartEngine(config);
  const auto cached = static_cast<int32_t>((tokens.size() - 2) / kPageSize * kPageSize);
  const Completion first = RunAlone(*engine, Request("first", tokens));
  EXPECT_EQ(first.usage.cached_tokens, 0);
  const Completion again = RunAlone(*engine, Request("again", tokens));
  EXPECT_EQ(again.usage.cached_tokens, cached);
  ExpectSame(again, first);

  GenerationRequest salted = Request("one", tokens);
  salted.cache_salt = "so that both are new";
  std::vector<GenerationRequest> together = {salted, salted};
  together[1].id = "two";
  const std::vector<Completion> got = RunTogether(*engine, together);
  EXPECT_EQ(got[0].usage.cached_tokens, 0);
  // What the same step computes, or an earlier one; ranks that divide sequences may compute it side by side instead.
  const bool is_divided = config.gpus.size() > 1 && config.attention == AttentionParallelism::kReplicated;
  if (!is_divided) {
    EXPECT_EQ(got[1].usage.cached_tokens, cached);
  }
  for (const Completion& completion : got) ExpectSame(completion, first);
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
}

}  // namespace

void ExpectSameBehindACachedBeginning(const std::string& source_dir, int num_gpus) {
  // The bundled model's best token is far ahead of the next, so that rounding chooses none.
  const std::string model = source_dir + "/models/tiny-mixtral";
  std::ifstream file(model + "/golden.json");
  const std::vector<int32_t> tokens = nlohmann::json::parse(file)["chats"][0]["prompt_tokens"];
  ASSERT_GT(tokens.size(), 8u);
  EngineConfig config = {.model_dir = model,
                         .device = DeviceKind::kCuda,
                         .max_model_len = 64,
                         .kv_cache_bytes = int64_t{4} << 20,
                         .max_batch_tokens = 64,
                         .max_running_requests = 2,
                         .page_size = kPageSize,
                         .dtype = DType::kFloat16,
                         .gpu_reserve_bytes = 0};
  for (const int ranks : {1, 2}) {
    config.gpus.push_back((ranks - 1) % num_gpus);
    for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
      // By itself a rank divides nothing: pages of 8 bits instead.
      const bool in_eight_bits = ranks == 1 && attention == AttentionParallelism::kTensorParallel;
      SCOPED_TRACE(absl::StrCat(ranks, " ranks, ", Name(attention)));
      config.attention = attention;
      config.kv_dtype = in_eight_bits ? std::optional(DType::kInt8) : std::nullopt;
      config.cuda_graphs = attention == AttentionParallelism::kReplicated;
      Check(config, tokens);
    }
  }
}

}  // namespace switchyard
