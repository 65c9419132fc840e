// Router and experts of every CPU backend.
#include <algorithm>

#include "gmock/gmock.h"
#include "kernels/cpu/expert_groups.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {
namespace {

using testing::ElementsAre;

class ExpertsTest : public BackendTest {};
INSTANTIATE_OVER_BACKENDS(ExpertsTest);

TEST_P(ExpertsTest, RouteChoosesTheMostLikelyExperts) {
  for (const bool renormalize : {true, false}) {
    for (const auto& [num_experts, top_k] : {std::pair<int64_t, int64_t>{8, 2}, {4, 1}, {6, 6}, {129, 10}, {1, 1}}) {
      const int64_t tokens = 23, hidden = 40;
      const TestMatrix router = RandomMatrix(*backend_, {num_experts, hidden, DType::kBFloat16}, random_, 0.3f);
      const std::vector<float> x = Normal(tokens * hidden);
      std::vector<int32_t> experts(tokens * top_k, -1);
      std::vector<float> weights(tokens * top_k);
      std::vector<int32_t> counts(num_experts);
      backend_->Route({num_experts, top_k, renormalize}, View(x, {tokens, hidden}), *router.matrix, ConstTensorView(),
                      {View(experts, {tokens, top_k}), View(weights, {tokens, top_k}), View(counts, {num_experts})});
      for (int64_t t = 0; t < tokens; ++t) {
        const std::vector<double> row(x.begin() + t * hidden, x.begin() + (t + 1) * hidden);
        std::vector<double> p(num_experts);
        double sum = 0, tolerance = 0;
        for (int64_t e = 0; e < num_experts; ++e) {
          double logit = 0;
          for (int64_t i = 0; i < hidden; ++i) logit += row[i] * router.Row(e)[i];
          sum += p[e] = std::exp(logit);
          tolerance = std::max(tolerance, DotTolerance(hidden, Norm(row.data(), hidden), Norm(router.Row(e), hidden)));
        }
        double chosen_sum = 0;
        for (int64_t k = 0; k < top_k; ++k) chosen_sum += p[experts[t * top_k + k]];
        std::vector<double> sorted = p;
        std::sort(sorted.rbegin(), sorted.rend());
        for (int64_t k = 0; k < top_k; ++k) {
          // By probability, not by index: a tie within rounding may fall either way.
          const double chosen = p[experts[t * top_k + k]];
          EXPECT_NEAR(chosen, sorted[k], 2 * tolerance * chosen);
          const double expected = chosen / (renormalize ? chosen_sum : sum);
          EXPECT_NEAR(weights[t * top_k + k], expected, (4 * tolerance + 8 * kEpsilon) * expected);
        }
        std::vector<int32_t> distinct(experts.begin() + t * top_k, experts.begin() + (t + 1) * top_k);
        std::sort(distinct.begin(), distinct.end());
        EXPECT_EQ(std::adjacent_find(distinct.begin(), distinct.end()), distinct.end());
      }
    }
  }
}

TEST_P(ExpertsTest, RouteTakesTheLowestExpertAmongEquals) {
  const auto router = *backend_->CreateMatrix({5, 16, DType::kFloat32});  // zeros: all experts are equal
  const std::vector<float> x = Normal(2 * 16);
  std::vector<int32_t> experts(2 * 3);
  std::vector<float> weights(2 * 3);
  std::vector<int32_t> counts(5);
  backend_->Route({5, 3, true}, View(x, {2, 16}), *router, ConstTensorView(),
                  {View(experts, {2, 3}), View(weights, {2, 3}), View(counts, {5})});
  EXPECT_THAT(experts, ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_NEAR(weights[0], 1.0 / 3, 1e-7);
}

TEST_P(ExpertsTest, RouteOfNanStaysInRangeAndHarmsNoOtherToken) {
  const TestMatrix router = RandomMatrix(*backend_, {5, 16, DType::kFloat32}, random_);
  std::vector<float> x = Normal(2 * 16);
  x[3] = NAN;
  std::vector<int32_t> experts(2 * 3, -1);
  std::vector<float> weights(2 * 3);
  std::vector<int32_t> counts(5);
  backend_->Route({5, 3, true}, View(x, {2, 16}), *router.matrix, ConstTensorView(),
                  {View(experts, {2, 3}), View(weights, {2, 3}), View(counts, {5})});
  for (const int32_t expert : experts) EXPECT_TRUE(expert >= 0 && expert < 5);
  EXPECT_TRUE(std::isnan(weights[0]));
  EXPECT_NEAR(weights[3] + weights[4] + weights[5], 1.0, 1e-6);
}

struct TestExperts {
  std::unique_ptr<ExpertWeights> weights;
  std::vector<std::vector<double>> gate_up;  // [expert][2 * intermediate, hidden]
  std::vector<std::vector<double>> down;     // [expert][hidden, intermediate]
};

TestExperts RandomExperts(Backend& backend, const ExpertWeightsSpec& spec, std::mt19937& random) {
  TestExperts experts;
  experts.weights = *backend.CreateExperts(spec);
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    experts.gate_up.push_back(FillRandom(experts.weights->gate_up(e), random, 0.2f));
    experts.down.push_back(FillRandom(experts.weights->down(e), random, 0.2f));
  }
  return experts;
}

struct Expected {
  std::vector<double> value;      // [hidden]
  std::vector<double> tolerance;  // [hidden]
};

// weight * w2(silu(w1 x) * w3 x) added to `sum`, with what rounding may do to every intermediate carried along.
void AddExpert(const TestExperts& experts, int64_t expert, const std::vector<double>& x, double weight, Expected& sum) {
  const auto [num_experts, hidden, intermediate, dtype, gate_up, down] = experts.weights->spec();
  const auto dot = [](const double* a, const double* b, int64_t n) {
    double result = 0;
    for (int64_t i = 0; i < n; ++i) result += a[i] * b[i];
    return result;
  };
  std::vector<double> middle(intermediate), error(intermediate);
  for (int64_t i = 0; i < intermediate; ++i) {
    const double* w1 = experts.gate_up[expert].data() + i * hidden;
    const double* w3 = w1 + intermediate * hidden;
    const double gate = dot(w1, x.data(), hidden), up = dot(w3, x.data(), hidden);
    const double silu = gate / (1 + std::exp(-gate));
    const double norm = Norm(x.data(), hidden);
    middle[i] = silu * up;
    error[i] = 1.1 * DotTolerance(hidden, Norm(w1, hidden), norm) * std::abs(up) +  // |silu'| < 1.1
               DotTolerance(hidden, Norm(w3, hidden), norm) * std::abs(silu) + 8 * kEpsilon * std::abs(middle[i]);
  }
  for (int64_t o = 0; o < hidden; ++o) {
    const double* w2 = experts.down[expert].data() + o * intermediate;
    const double w2_norm = Norm(w2, intermediate);
    sum.value[o] += weight * dot(w2, middle.data(), intermediate);
    sum.tolerance[o] += std::abs(weight) * (w2_norm * Norm(error.data(), intermediate) +
                                            DotTolerance(intermediate, w2_norm, Norm(middle.data(), intermediate)));
  }
}

TEST_P(ExpertsTest, RunExpertsSumsTheLocalExpertsOfEveryRow) {
  const struct {
    int64_t rows, top_k, num_experts, hidden, intermediate, first_slot, num_slots;
  } shapes[] = {{1, 2, 8, 64, 96, 0, 8}, {9, 2, 4, 33, 50, 4, 8},  {40, 3, 3, 48, 17, 3, 9},
                {0, 2, 2, 16, 16, 0, 2}, {70, 1, 1, 20, 40, 5, 7}, {5, 4, 2, 1, 3, 0, 2}};
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    for (const auto& shape : shapes) {
      const auto [rows, top_k, num_experts, hidden, intermediate, first_slot, num_slots] = shape;
      SCOPED_TRACE(testing::Message() << Name(dtype) << " " << rows << " rows, " << num_experts << " experts");
      const TestExperts experts = RandomExperts(*backend_, {num_experts, hidden, intermediate, dtype}, random_);
      const std::vector<float> x = Normal(rows * hidden), weights = Normal(rows * top_k);
      std::vector<int32_t> slots(rows * top_k);
      for (int32_t& slot : slots) slot = static_cast<int32_t>(Uniform(-1, num_slots - 1));  // repeats included
      std::vector<float> out(rows * hidden, NAN);
      backend_->RunExperts(*experts.weights, {.rows = View(x, {rows, hidden}),
                                              .slots = View(slots, {rows, top_k}),
                                              .weights = View(weights, {rows, top_k}),
                                              .first_slot = first_slot,
                                              .out = View(out, {rows, hidden})});
      for (int64_t n = 0; n < rows; ++n) {
        const std::vector<double> row(x.begin() + n * hidden, x.begin() + (n + 1) * hidden);
        Expected expected{std::vector<double>(hidden), std::vector<double>(hidden)};
        for (int64_t k = 0; k < top_k; ++k) {
          const int64_t expert = slots[n * top_k + k] - first_slot;
          if (expert >= 0 && expert < num_experts) AddExpert(experts, expert, row, weights[n * top_k + k], expected);
        }
        for (int64_t i = 0; i < hidden; ++i) {
          ASSERT_NEAR(out[n * hidden + i], expected.value[i], expected.tolerance[i] * 1.5) << n << " " << i;
        }
      }
    }
  }
}

TEST_P(ExpertsTest, RunExpertsGivesZeroWhereNoExpertIsLocal) {
  const TestExperts experts = RandomExperts(*backend_, {2, 24, 8, DType::kBFloat16}, random_);
  const std::vector<float> x = Normal(3 * 24), weights = Normal(3 * 2);
  const std::vector<int32_t> slots = {-1, 5, 4, -1, 0, 1};
  std::vector<float> out(3 * 24, NAN);
  backend_->RunExperts(*experts.weights, {.rows = View(x, {3, 24}),
                                          .slots = View(slots, {3, 2}),
                                          .weights = View(weights, {3, 2}),
                                          .first_slot = 2,
                                          .out = View(out, {3, 24})});
  EXPECT_THAT(out, testing::Each(0.0f));
}

TEST(ExpertGroups, OrdersTheExampleOfTheHeader) {
  ExpertGroups groups;
  groups.Assign(std::vector<int32_t>{4, 1, 1, -1}, 2, 0, 4);
  EXPECT_THAT(groups.begin, ElementsAre(0, 0, 2, 2, 2));
  EXPECT_THAT(groups.source, ElementsAre(0, 1));
  EXPECT_THAT(groups.place, ElementsAre(-1, 0, 1, -1));
}

}  // namespace
}  // namespace switchyard
