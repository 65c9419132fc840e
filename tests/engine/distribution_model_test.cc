// Divergences between distributions, and what each quantisation does to those of the bundled model.
#include "engine/distribution_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

constexpr char kModel[] = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral";

EngineConfig Config() { return {.model_dir = kModel, .num_threads = 1}; }

TEST(DivergenceMeter, AddsUpWhatTheFormulaSays) {
  const std::vector<float> p = {std::log(0.5f), std::log(0.5f), std::log(0.9f), std::log(0.1f)};
  const std::vector<float> q = {std::log(0.5f), std::log(0.5f), std::log(0.1f), std::log(0.9f)};
  DivergenceMeter meter;
  meter.Add(p, q, 2);
  const double second = 0.9 * std::log(9.0) - 0.1 * std::log(9.0);
  EXPECT_EQ(meter.num_positions(), 2);
  EXPECT_NEAR(meter.mean(), second / 2, 1e-6);
  EXPECT_NEAR(meter.worst(), second, 1e-6);
  EXPECT_EQ(meter.agreement(), 0.5);
}

TEST(DistributionModel, GivesTheLogProbabilitiesOfTheEngine) {
  std::ifstream file(std::string(kModel) + "/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file)["sequences"][0];
  const std::vector<int32_t> tokens = golden["tokens"];
  const std::vector<double> expected = golden["logprobs"];
  EngineConfig config = Config();
  config.max_batch_tokens = 6;  // chunks
  const auto model = *DistributionModel::Create(config, {});
  const std::vector<float> logprobs = *model->LogProbs(tokens);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const float* row = logprobs.data() + i * static_cast<size_t>(model->vocab_size());
    EXPECT_NEAR(row[tokens[i + 1]], expected[i], 1e-3);
    double sum = 0;
    for (int64_t id = 0; id < model->vocab_size(); ++id) sum += std::exp(static_cast<double>(row[id]));
    EXPECT_NEAR(sum, 1.0, 1e-4);
  }
  EXPECT_TRUE(absl::IsInvalidArgument(model->LogProbs(std::vector<int32_t>{1, 2048}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(model->LogProbs(std::vector<int32_t>(4097, 1)).status()));
}

class QualityTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::unique_ptr<Engine> engine = StartEngine(Config());
    std::ifstream file(SWITCHYARD_SOURCE_DIR "/tests/engine/data/evaluation/texts.jsonl");
    for (std::string line; std::getline(file, line);) {
      texts_.push_back(engine->tokenizer()->Encode(nlohmann::json::parse(line)["text"].get<std::string>(), {}));
    }
    const auto reference = *DistributionModel::Create(Config(), {});
    for (const std::vector<int32_t>& text : texts_) reference_.push_back(*reference->LogProbs(text));
    vocab_ = reference->vocab_size();
  }
  static void TearDownTestSuite() {
    texts_.clear();
    reference_.clear();
  }

  static double SumOfLogProbs(const std::vector<float>& logprobs, const std::vector<int32_t>& text) {
    double sum = 0;
    for (size_t i = 1; i < text.size(); ++i) {
      sum += logprobs[(i - 1) * static_cast<size_t>(vocab_) + static_cast<size_t>(text[i])];
    }
    return sum;
  }

  struct Quality {
    double perplexity_ratio = 0;  // to that of the reference
    DivergenceMeter divergence;
  };
  static Quality Measure(const EngineConfig& config) {
    const auto model = *DistributionModel::Create(config, {});
    Quality quality;
    double sum = 0, reference_sum = 0, count = 0;
    for (size_t i = 0; i < texts_.size(); ++i) {
      const std::vector<float> logprobs = *model->LogProbs(texts_[i]);
      quality.divergence.Add(reference_[i], logprobs, vocab_);
      sum += SumOfLogProbs(logprobs, texts_[i]);
      reference_sum += SumOfLogProbs(reference_[i], texts_[i]);
      count += static_cast<double>(texts_[i].size() - 1);
    }
    quality.perplexity_ratio = std::exp((reference_sum - sum) / count);
    return quality;
  }

  static std::vector<std::vector<int32_t>> texts_;
  static std::vector<std::vector<float>> reference_;  // [texts] of [tokens, vocab], unquantised
  static int64_t vocab_;
};
std::vector<std::vector<int32_t>> QualityTest::texts_;
std::vector<std::vector<float>> QualityTest::reference_;
int64_t QualityTest::vocab_ = 0;

// The bounds are about twice what was measured (docs/QUANTIZATION.md): a wrong scale or table is far outside.
TEST_F(QualityTest, OfEveryFormatStaysWithinItsBound) {
  struct Bound {
    double perplexity_ratio;
    double mean_kl;
    double worst_kl;
  };
  const std::map<std::string, Bound> bounds = {
      {"nf4", {1.005, 0.008, 0.7}},        {"int4", {1.008, 0.011, 1.0}},          {"int4-g64", {1.008, 0.009, 1.0}},
      {"int4-asym", {1.005, 0.009, 1.0}},  {"int4-g64-asym", {1.005, 0.008, 1.0}}, {"int8", {1.001, 0.0001, 0.05}},
      {"int8-g64", {1.001, 0.0001, 0.05}}, {"int8-g128", {1.001, 0.0001, 0.05}},
  };
  for (const auto& [name, bound] : bounds) {
    EngineConfig config = Config();
    config.quantize.experts = config.quantize.attention = *ParseQuantizationRecipe(name);
    const Quality quality = Measure(config);
    EXPECT_LT(quality.perplexity_ratio, bound.perplexity_ratio) << name;
    EXPECT_LT(quality.divergence.mean(), bound.mean_kl) << name;
    EXPECT_LT(quality.divergence.worst(), bound.worst_kl) << name;
    EXPECT_GT(quality.divergence.mean(), 0) << name << " changes nothing";
  }
}

// What 8-bit activations add to what quantised weights have changed: less than 0.2% of perplexity.
TEST_F(QualityTest, HardlySuffersFromActivationsIn8Bits) {
  for (const char* name : {"nf4", "int4", "int8"}) {
    EngineConfig config = Config();
    config.quantize.experts = config.quantize.attention = config.quantize.embeddings = *ParseQuantizationRecipe(name);
    const double exact = Measure(config).perplexity_ratio;
    config.activations = CpuActivations::kInt8;
    EXPECT_LT(Measure(config).perplexity_ratio, exact * 1.002) << name;
  }
}

}  // namespace
}  // namespace switchyard
