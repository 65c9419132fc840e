#include "tests/kernels/cuda/sampling_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "kernels/cpu/philox.h"
#include "kernels/cpu/sampling.h"
#include "kernels/cpu/token_filter.h"
#include "kernels/cuda/sampling.h"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

using Launcher = void (*)(const PackedSampling&, const SamplingArgs&, Stream);

std::vector<std::byte> RunPacked(const PackedSampling& packed, const std::vector<float>& logits, int64_t vocab_size,
                                 Launcher launch) {
  const DeviceVector<std::byte> params(std::vector<std::byte>(packed.params().begin(), packed.params().end()));
  DeviceVector<float> device_logits(logits);
  DeviceVector<std::byte> results(packed.result_bytes());
  DeviceVector<std::byte> scratch(SamplingScratchBytes(packed.num_rows(), vocab_size));
  launch(packed,
         {.logits = device_logits.data(),
          .vocab_size = vocab_size,
          .params = params.data(),
          .results = results.data(),
          .scratch = scratch.data()},
         TestStream());
  const std::vector<float> after = device_logits.ToHost();
  const bool unchanged = std::equal(logits.begin(), logits.end(), after.begin(),
                                    [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); });
  EXPECT_TRUE(unchanged);
  return results.ToHost();
}

// Mask, bias and penalties as kernels/sampling.h describes them.
std::vector<float> Adjusted(std::vector<float> logits, const SamplingRow& row) {
  for (size_t id = 0; row.allowed != nullptr && id < logits.size(); ++id) {
    const bool allowed = id / 32 < row.allowed->size() && ((*row.allowed)[id / 32] >> (id % 32) & 1u) != 0;
    if (!allowed) logits[id] = -std::numeric_limits<float>::infinity();
  }
  for (const auto& [id, bias] : row.biases) logits[id] += bias;
  for (const TokenCount& count : row.counts) {
    float& logit = logits[count.id];
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    if (count.in_output > 0) {
      logit -= row.presence_penalty + row.frequency_penalty * static_cast<float>(count.in_output);
    }
  }
  return logits;
}

// Whether the border of the draw between two tokens, or between neighbours of top-p's end, is so near to the random
// number that rounding decides.
bool IsBorderDraw(const std::vector<float>& raw, const SamplingRow& row, int32_t a, int32_t b) {
  if (a < 0 || b < 0) return false;
  const std::vector<float> logits = Adjusted(raw, row);
  const float largest = *std::max_element(logits.begin(), logits.end());
  std::vector<float> weights(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) weights[i] = std::exp((logits[i] - largest) / row.temperature);
  const TokenFilter filter(weights, row.top_k, row.top_p, row.min_p);
  double total = 0, before = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!filter.Keeps(weights[i], i)) continue;
    total += weights[i];
    if (i < static_cast<size_t>(std::max(a, b))) before += weights[i];
  }
  return std::abs(before / total - UniformDraw(row.seed, row.draw)) < 1e-6;
}

}  // namespace

std::vector<SampledToken> DeviceSample(const std::vector<float>& logits, const std::vector<SamplingRow>& rows) {
  const int64_t vocab_size = rows.empty() ? 1 : static_cast<int64_t>(logits.size() / rows.size());
  const PackedSampling packed = PackedSampling::Pack(rows, vocab_size);
  return packed.UnpackSampled(RunPacked(packed, logits, vocab_size, Sample));
}

std::vector<ScoredToken> DeviceScore(const std::vector<float>& logits, const std::vector<ScoringRow>& rows) {
  const int64_t vocab_size = rows.empty() ? 1 : static_cast<int64_t>(logits.size() / rows.size());
  const PackedSampling packed = PackedSampling::Pack(rows, vocab_size);
  return packed.UnpackScored(RunPacked(packed, logits, vocab_size, Score));
}

void ExpectSameTop(const std::vector<TokenLogProb>& actual, const std::vector<TokenLogProb>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].id, expected[i].id) << "place " << i;
    if (actual[i].logprob != expected[i].logprob) {
      EXPECT_NEAR(actual[i].logprob, expected[i].logprob, kLogProbTolerance);
    }
  }
}

void ExpectSameAsCpu(const std::vector<float>& logits, const std::vector<SamplingRow>& rows) {
  const std::vector<SampledToken> sampled = DeviceSample(logits, rows);
  ASSERT_EQ(sampled.size(), rows.size());
  const size_t vocab_size = logits.size() / rows.size();
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "row " << i << " of vocabulary " << vocab_size << ": temperature "
                                    << rows[i].temperature << ", top_k " << rows[i].top_k << ", top_p " << rows[i].top_p
                                    << ", min_p " << rows[i].min_p);
    std::vector<float> row(logits.begin() + static_cast<std::ptrdiff_t>(i * vocab_size),
                           logits.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab_size));
    const SampledToken expected = SampleRow(row, rows[i]);
    if (sampled[i].id != expected.id) {
      EXPECT_TRUE(IsBorderDraw(row, rows[i], sampled[i].id, expected.id))
          << sampled[i].id << " instead of " << expected.id;
      continue;
    }
    EXPECT_NEAR(sampled[i].logprob, expected.logprob, kLogProbTolerance);
    ExpectSameTop(sampled[i].top, expected.top);
  }
}

}  // namespace switchyard::cuda
