// KV pages of 8 bits on emulated GPUs, against the CPU's of the same type.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModel[] = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";

class EmulatedKvDTypeTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, EmulatedKvDTypeTest, testing::Values(DType::kFloat8E4M3, DType::kInt8),
                         [](const auto& info) { return Name(info.param); });

TEST_P(EmulatedKvDTypeTest, ScoresAndContinuesAsTheCpu) {
  std::ifstream file(std::string(kModel) + "/golden.json");
  const std::vector<int32_t> tokens = nlohmann::json::parse(file)["sequences"][0]["tokens"];
  const auto run = [&](const EngineConfig& config) {
    const std::unique_ptr<Engine> engine = StartEngine(config);
    // A prefill, and decoding over the pages that it wrote.
    GenerationRequest generate = GreedyRequest("generate", tokens, 3);
    generate.stop.ignore_eos = true;
    return RunTogether(*engine, {ScoringRequest("score", tokens), generate});
  };
  const std::vector<Completion> expected =
      run({.model_dir = kModel, .num_threads = 1, .max_model_len = 64, .kv_dtype = GetParam()});
  const std::vector<Completion> got = run({.model_dir = kModel,
                                           .device = DeviceKind::kCuda,
                                           .gpus = {0},
                                           .max_model_len = 64,
                                           .max_batch_tokens = 32,
                                           .max_running_requests = 2,
                                           .kv_dtype = GetParam(),
                                           .dtype = DType::kFloat16});
  ASSERT_TRUE(got[0].status.ok()) << got[0].status;
  std::vector<double> errors;
  for (size_t i = 0; i < expected[0].prompt_logprobs.size(); ++i) {
    errors.push_back(std::abs(got[0].prompt_logprobs[i].logprob - expected[0].prompt_logprobs[i].logprob));
  }
  ASSERT_FALSE(errors.empty());
  std::sort(errors.begin(), errors.end());
  // As in device_engine_test.cc: activations are rounded to float16, and elements another way for it.
  EXPECT_LE(errors[errors.size() * 9 / 10], 40 * 0x1p-11);
  EXPECT_EQ(got[1].ids(), expected[1].ids());
}

}  // namespace
}  // namespace switchyard
