#include "kernels/cpu/router.h"

#include <algorithm>
#include <cmath>

namespace switchyard {

void SelectExperts(const RouterSpec& spec, const float* logits, int32_t* experts, float* weights) {
  const float largest = *std::max_element(logits, logits + spec.num_experts);
  double sum = 0;
  for (int64_t e = 0; e < spec.num_experts; ++e) sum += std::exp(logits[e] - largest);

  double chosen_sum = 0;
  for (int64_t k = 0; k < spec.top_k; ++k) {
    int32_t best = -1;
    for (int32_t e = 0; e < spec.num_experts; ++e) {
      const bool is_free = std::find(experts, experts + k, e) == experts + k;
      if (is_free && (best < 0 || logits[e] > logits[best])) best = e;
    }
    experts[k] = best;
    weights[k] = std::exp(logits[best] - largest);
    chosen_sum += weights[k];
  }
  const double denominator = spec.renormalize ? chosen_sum : sum;
  for (int64_t k = 0; k < spec.top_k; ++k) weights[k] = static_cast<float>(weights[k] / denominator);
}

void CountAndMaskExperts(const RouterSpec& spec, int64_t num_tokens, ConstTensorView num_valid,
                         const RouterOutput& out) {
  const int64_t valid = num_valid.data() == nullptr ? num_tokens : num_valid.As<int32_t>()[0];
  const std::span<int32_t> experts = out.experts.As<int32_t>();
  for (int64_t i = 0; i < num_tokens * spec.top_k; ++i) {
    if (i < valid * spec.top_k) {
      ++out.counts.As<int32_t>()[experts[i]];
    } else {
      experts[i] = -1;
      out.weights.As<float>()[i] = 0;
    }
  }
}

}  // namespace switchyard
