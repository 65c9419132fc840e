// The router on the device, against double precision and the CPU's rule for ties.
#include "kernels/cuda/router.h"

#include <set>

#include "kernels/cpu/router.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

struct RouterShape {
  int64_t num_tokens, num_experts, top_k, hidden_size;
};

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
  std::vector<int32_t> counts;
};

class RouteTest : public HalfTest {
 protected:
  static constexpr int32_t kCountBefore = 1000;

  // num_valid < 0: all rows are.
  Routed Run(const RouterShape& shape, bool renormalize, const std::vector<uint16_t>& x, const std::vector<uint16_t>& w,
             bool divide_experts, int32_t num_valid = -1) {
    const DeviceVector<uint16_t> device_x(x);
    const DeviceVector<uint16_t> device_w(w);
    const DeviceVector<int32_t> device_valid(std::vector<int32_t>{num_valid});
    DeviceVector<int32_t> experts(std::vector<int32_t>(shape.num_tokens * shape.top_k, -7));
    DeviceVector<float> weights(std::vector<float>(shape.num_tokens * shape.top_k, -7.0f));
    DeviceVector<int32_t> scratch(std::vector<int32_t>(RouteScratchBytes(shape.num_experts) / sizeof(int32_t), 0));
    std::vector<int32_t> counts_after;
    // Twice, with the scratch that the first left.
    for (int run = 0; run < (divide_experts ? 2 : 1); ++run) {
      DeviceVector<int32_t> counts(std::vector<int32_t>(shape.num_experts, kCountBefore));
      Route({.dtype = GetParam(),
             .num_tokens = shape.num_tokens,
             .hidden_size = shape.hidden_size,
             .num_experts = shape.num_experts,
             .top_k = shape.top_k,
             .renormalize = renormalize,
             .x = device_x.data(),
             .router = device_w.data(),
             .num_valid = num_valid < 0 ? nullptr : device_valid.data(),
             .experts = experts.data(),
             .weights = weights.data(),
             .counts = counts.data(),
             .scratch = divide_experts ? scratch.data() : nullptr},
            TestStream());
      counts_after = counts.ToHost();
    }
    return {experts.ToHost(), weights.ToHost(), counts_after};
  }

  void ExpectCounts(const Routed& routed) {
    std::vector<int32_t> counts(routed.counts.size(), kCountBefore);
    for (const int32_t expert : routed.experts) {
      if (expert >= 0) ++counts[expert];
    }
    EXPECT_EQ(routed.counts, counts);
  }

  // Rows below num_valid against a softmax in double; the others are padding.
  void ExpectRouted(const RouterShape& shape, bool renormalize, const std::vector<uint16_t>& x,
                    const std::vector<uint16_t>& w, int64_t num_valid, const Routed& routed);
};
INSTANTIATE_TEST_SUITE_P(Types, RouteTest, HalfTypes(), HalfTypeName);

void RouteTest::ExpectRouted(const RouterShape& shape, bool renormalize, const std::vector<uint16_t>& x,
                             const std::vector<uint16_t>& w, int64_t num_valid, const Routed& routed) {
  for (int64_t t = 0; t < shape.num_tokens; ++t) {
    const int32_t* experts = &routed.experts[t * shape.top_k];
    const float* weights = &routed.weights[t * shape.top_k];
    if (t >= num_valid) {
      for (int64_t k = 0; k < shape.top_k; ++k) {
        ASSERT_EQ(experts[k], -1) << "padding row " << t;
        ASSERT_EQ(weights[k], 0.0f) << "padding row " << t;
      }
      continue;
    }
    std::vector<double> logits(shape.num_experts);
    double largest = -INFINITY;
    double error = 0;  // of a logit: a rounding of 2^-23 (tensor cores truncate) per sum
    for (int64_t e = 0; e < shape.num_experts; ++e) {
      double magnitude = 0;
      for (int64_t i = 0; i < shape.hidden_size; ++i) {
        const double product = double{FloatFromHalf(GetParam(), x[t * shape.hidden_size + i])} *
                               FloatFromHalf(GetParam(), w[e * shape.hidden_size + i]);
        logits[e] += product;
        magnitude += std::abs(product);
      }
      largest = std::max(largest, logits[e]);
      error = std::max(error, magnitude * 0x1p-23 * std::sqrt(static_cast<double>(shape.hidden_size)));
    }
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - largest);
    double chosen_sum = 0;
    for (int64_t k = 0; k < shape.top_k; ++k) chosen_sum += std::exp(logits.at(experts[k]) - largest);

    std::vector<double> sorted = logits;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    EXPECT_EQ(std::set<int32_t>(experts, experts + shape.top_k).size(), static_cast<size_t>(shape.top_k));
    for (int64_t k = 0; k < shape.top_k; ++k) {
      // The k-th largest, or one that cannot be told from it.
      ASSERT_NEAR(logits[experts[k]], sorted[k], 2 * error) << "token " << t << " choice " << k;
      const double expected = std::exp(logits[experts[k]] - largest) / (renormalize ? chosen_sum : sum);
      ASSERT_NEAR(weights[k], expected, expected * (4 * error + 0x1p-20)) << "token " << t << " choice " << k;
    }
  }
  ExpectCounts(routed);
}

// Every tile of tokens and experts, partial ones, hidden sizes with and without a rest, and both ways of dividing.
TEST_P(RouteTest, ChoosesTheLargestOfTheSoftmax) {
  const RouterShape shapes[] = {
      {1, 8, 2, 512},
      {1, 8, 2, 2056},
      {5, 8, 2, 40},
      {1, 1, 1, 8},
      {3, 3, 3, 24},
      {2, 9, 4, 2048},
      {17, 16, 2, 72},
      {1, 60, 4, 520},
      {1, 128, 8, 64},
      {33, 128, 8, 40},
      {130, 8, 2, 16},
      {2, 512, 10, 136},
      {1, 512, 16, 32},
      {129, 40, 6, 16},
      {700, 33, 2, 8},
      {2100, 8, 2, 72},
      {2100, 35, 2, 24},
      {300, 4, 1, 32},
      // Borders of the form for few tokens and experts: tokens of a block, hidden sizes kept in registers.
      {2, 8, 8, 4096},
      {3, 8, 2, 4104},
      {1, 7, 2, 8192},
      {1, 8, 2, 8200},
      {128, 8, 2, 8},
      {129, 8, 2, 8},
      {257, 8, 2, 8},
      {512, 5, 5, 8},
      {513, 8, 2, 8},
      // Of the keys of experts that a lane keeps.
      {2, 31, 2, 8},
      {2, 127, 8, 8},
      {2, 129, 16, 8},
  };
  for (const RouterShape& shape : shapes) {
    const std::vector<uint16_t> x = RandomHalves(GetParam(), shape.num_tokens * shape.hidden_size, random_);
    const std::vector<uint16_t> w = RandomHalves(GetParam(), shape.num_experts * shape.hidden_size, random_,
                                                 1.0f / std::sqrt(static_cast<float>(shape.hidden_size)));
    for (const bool divide : {false, true}) {
      // One group of experts is never divided, nor are the experts of very many tokens.
      if (divide && (shape.num_experts <= 8 || shape.num_tokens > 1024)) continue;
      SCOPED_TRACE(testing::Message() << shape.num_tokens << " tokens, " << shape.top_k << " of " << shape.num_experts
                                      << " experts, hidden " << shape.hidden_size << (divide ? ", divided" : ""));
      const bool renormalize = (shape.hidden_size / 8 + divide) % 2 == 0;
      ExpectRouted(shape, renormalize, x, w, shape.num_tokens, Run(shape, renormalize, x, w, divide));
    }
  }
}

TEST_P(RouteTest, SkipsPaddingRows) {
  const RouterShape shapes[] = {{40, 8, 2, 64}, {3, 128, 8, 64}, {150, 8, 2, 16}, {300, 6, 6, 16}, {530, 8, 2, 16}};
  for (const RouterShape& shape : shapes) {
    for (const int64_t num_valid : {int64_t{0}, int64_t{1}, shape.num_tokens - 1, shape.num_tokens}) {
      for (const bool divide : {false, true}) {
        SCOPED_TRACE(testing::Message() << num_valid << " of " << shape.num_tokens << (divide ? ", divided" : ""));
        std::vector<uint16_t> x = RandomHalves(GetParam(), shape.num_tokens * shape.hidden_size, random_);
        const std::vector<uint16_t> w = RandomHalves(GetParam(), shape.num_experts * shape.hidden_size, random_, 0.1f);
        std::fill(x.begin() + num_valid * shape.hidden_size, x.end(), HalfFromFloat(GetParam(), NAN));
        const Routed routed = Run(shape, true, x, w, divide, static_cast<int32_t>(num_valid));
        ExpectRouted(shape, true, x, w, num_valid, routed);
      }
    }
  }
}

// Logits are small integers here, so sums are exact and ties are many.
TEST_P(RouteTest, PrefersTheLowestExpertAmongEquals) {
  const RouterShape shapes[] = {{25, 8, 3, 8}, {9, 128, 8, 40}, {4, 512, 16, 8}, {300, 5, 5, 8}, {520, 8, 3, 8}};
  for (const RouterShape& shape : shapes) {
    std::vector<uint16_t> x(shape.num_tokens * shape.hidden_size);
    for (uint16_t& value : x) value = HalfFromFloat(GetParam(), static_cast<float>(Uniform(-1, 1)));
    std::vector<uint16_t> w(shape.num_experts * shape.hidden_size);
    for (uint16_t& value : w) value = HalfFromFloat(GetParam(), static_cast<float>(Uniform(-1, 1)));
    for (const bool divide : {false, true}) {
      const Routed routed = Run(shape, true, x, w, divide);
      for (int64_t t = 0; t < shape.num_tokens; ++t) {
        std::vector<float> logits(shape.num_experts);
        for (int64_t e = 0; e < shape.num_experts; ++e) {
          for (int64_t i = 0; i < shape.hidden_size; ++i) {
            logits[e] += FloatFromHalf(GetParam(), x[t * shape.hidden_size + i]) *
                         FloatFromHalf(GetParam(), w[e * shape.hidden_size + i]);
          }
        }
        std::vector<int32_t> experts(shape.top_k);
        std::vector<float> weights(shape.top_k);
        SelectExperts({.num_experts = shape.num_experts, .top_k = shape.top_k, .renormalize = true}, logits.data(),
                      experts.data(), weights.data());
        for (int64_t k = 0; k < shape.top_k; ++k) {
          ASSERT_EQ(routed.experts[t * shape.top_k + k], experts[k]) << "token " << t << " choice " << k;
          ASSERT_NEAR(routed.weights[t * shape.top_k + k], weights[k], weights[k] * 0x1p-19);
        }
      }
      ExpectCounts(routed);
    }
  }
}

TEST_P(RouteTest, KeepsExpertsDistinctWhereLogitsAreNotNumbers) {
  for (const int64_t num_experts : {40, 8}) {
    const RouterShape shape = {3, num_experts, 4, 16};
    std::vector<uint16_t> x = RandomHalves(GetParam(), shape.num_tokens * shape.hidden_size, random_);
    std::fill_n(x.begin(), shape.hidden_size, HalfFromFloat(GetParam(), NAN));
    // Row 1: one logit is NaN, an infinite weight times 0.
    x[shape.hidden_size + 5] = 0;
    std::vector<uint16_t> w = RandomHalves(GetParam(), shape.num_experts * shape.hidden_size, random_);
    w[7 * shape.hidden_size + 5] = HalfFromFloat(GetParam(), INFINITY);
    // Row 2: a logit of minus infinity is never chosen.
    x[2 * shape.hidden_size + 5] = HalfFromFloat(GetParam(), -1.0f);
    for (const bool renormalize : {false, true}) {
      const Routed routed = Run(shape, renormalize, x, w, false);
      for (int64_t t = 0; t < shape.num_tokens; ++t) {
        const std::set<int32_t> experts(&routed.experts[t * shape.top_k],
                                        &routed.experts[t * shape.top_k] + shape.top_k);
        EXPECT_EQ(experts.size(), static_cast<size_t>(shape.top_k));
        EXPECT_GE(*experts.begin(), 0);
        EXPECT_LT(*experts.rbegin(), shape.num_experts);
        EXPECT_EQ(std::isnan(routed.weights[t * shape.top_k]), t < 2) << "token " << t;
        EXPECT_FALSE(t == 2 && experts.contains(7));
      }
      ExpectCounts(routed);
    }
  }
}

TEST_P(RouteTest, AcceptsNoTokens) {
  const Routed routed = Run({0, 8, 2, 64}, true, {}, RandomHalves(GetParam(), 8 * 64, random_), true);
  EXPECT_EQ(routed.counts, std::vector<int32_t>(8, kCountBefore));
}

}  // namespace
}  // namespace switchyard::cuda
