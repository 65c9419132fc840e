#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "kernels/check.h"
#include "kernels/cpu/philox.h"
#include "kernels/cpu/softmax.h"
#include "kernels/cpu/token_filter.h"

namespace switchyard {
namespace {

float LogProb(std::span<const float> logits, double log_sum_exp, int32_t id) {
  return static_cast<float>(logits[id] - log_sum_exp);
}

// The `count` most likely, descending, lowest id first among equals.
std::vector<TokenLogProb> TopLogProbs(std::span<const float> logits, double log_sum_exp, int32_t count) {
  std::vector<TokenLogProb> top;
  for (const int32_t id : LargestIds(logits, count)) top.push_back({id, LogProb(logits, log_sum_exp, id)});
  return top;
}

// Applies mask, bias and penalties; on destruction the raw logits are back.
class AdjustedLogits {
 public:
  AdjustedLogits(std::span<float> logits, const SamplingRow& row) : logits_(logits) {
    if (row.allowed != nullptr) {
      raw_.assign(logits.begin(), logits.end());
      Mask(*row.allowed);
    }
    for (const auto& [id, bias] : row.biases) Change(id, At(id) + bias);
    for (const TokenCount& count : row.counts) {
      float value = At(count.id);
      if (count.in_prompt > 0 || count.in_output > 0) {
        value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
      }
      if (count.in_output > 0) {
        value -= row.presence_penalty + row.frequency_penalty * static_cast<float>(count.in_output);
      }
      Change(count.id, value);
    }
  }
  AdjustedLogits(const AdjustedLogits&) = delete;
  AdjustedLogits& operator=(const AdjustedLogits&) = delete;
  ~AdjustedLogits() {
    if (!raw_.empty()) {
      std::copy(raw_.begin(), raw_.end(), logits_.begin());
      return;
    }
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) logits_[change->id] = change->bias;
  }

  bool changed() const { return !raw_.empty() || !changes_.empty(); }

 private:
  void Mask(const TokenMask& allowed) {
    for (size_t begin = 0; begin < logits_.size(); begin += 32) {
      const uint32_t word = begin / 32 < allowed.size() ? allowed[begin / 32] : 0;
      if (word == ~0u) continue;
      const size_t end = std::min(begin + 32, logits_.size());
      for (size_t id = begin; id < end; ++id) {
        if ((word >> (id - begin) & 1u) == 0) logits_[id] = -std::numeric_limits<float>::infinity();
      }
    }
  }
  float At(int32_t id) const {
    CHECK(id >= 0 && static_cast<size_t>(id) < logits_.size());
    return logits_[id];
  }
  void Change(int32_t id, float value) {
    changes_.push_back({id, logits_[id]});
    logits_[id] = value;
  }

  std::span<float> logits_;
  std::vector<float> raw_;          // all of them, if there is a mask
  std::vector<LogitBias> changes_;  // the values before, in order of change
};

// Walks the kept tokens in order of id, so that a rounding error in one logit hardly ever moves the draw.
int32_t Draw(std::span<const float> weights, const TokenFilter& filter, double uniform) {
  double total = 0;
  for (size_t i = 0; i < weights.size(); ++i) total += filter.Keeps(weights[i], i) ? weights[i] : 0.0f;
  const double target = uniform * total;
  double sum = 0;
  int32_t last = -1;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0.0f || !filter.Keeps(weights[i], i)) continue;
    sum += weights[i];
    last = static_cast<int32_t>(i);
    if (sum > target) break;
  }
  return last;
}

int32_t Choose(std::span<const float> logits, const SamplingRow& row, RowMaximum maximum) {
  if (row.temperature <= 0 || row.top_k == 1 || maximum.index < 0) return maximum.index;
  std::vector<float> weights(logits.size());
  ExpOfScaled(logits, maximum.value, row.temperature, weights);
  return Draw(weights, TokenFilter(weights, row.top_k, row.top_p, row.min_p), UniformDraw(row.seed, row.draw));
}

}  // namespace

SampledToken SampleRow(std::span<float> logits, const SamplingRow& row) {
  SampledToken sampled;
  const RowMaximum raw = FindRowMaximum(logits);
  if (raw.index < 0) return sampled;
  {
    const AdjustedLogits adjusted(logits, row);
    sampled.id = Choose(logits, row, adjusted.changed() ? FindRowMaximum(logits) : raw);
  }
  if (sampled.id < 0 || row.num_top_logprobs < 0) return sampled;
  const double log_sum_exp = LogSumExp(logits, raw.value);
  sampled.logprob = LogProb(logits, log_sum_exp, sampled.id);
  sampled.top = TopLogProbs(logits, log_sum_exp, row.num_top_logprobs);
  return sampled;
}

ScoredToken ScoreRow(std::span<const float> logits, const ScoringRow& row) {
  ScoredToken scored;
  const RowMaximum maximum = FindRowMaximum(logits);
  scored.top1 = maximum.index;
  if (maximum.index < 0 || (row.target < 0 && row.num_top_logprobs <= 0)) return scored;
  CHECK_LT(row.target, static_cast<int64_t>(logits.size()));
  const double log_sum_exp = LogSumExp(logits, maximum.value);
  if (row.target >= 0) scored.logprob = LogProb(logits, log_sum_exp, row.target);
  scored.top = TopLogProbs(logits, log_sum_exp, row.num_top_logprobs);
  return scored;
}

}  // namespace switchyard
