#include "kernels/cuda/experts.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

struct Sizes {
  int64_t rows = 0;
  int64_t top_k = 2;
  int64_t hidden = 8;
  int64_t intermediate = 8;
  int64_t experts = 4;
  int64_t first_slot = 0;
  int num_multiprocessors = 1;
};

// Inputs of one call, on the host.
struct Problem {
  Sizes sizes;
  DType dtype = DType::kBFloat16;
  std::vector<uint16_t> rows = {};
  std::vector<int32_t> slots = {};
  std::vector<float> weights = {};
  std::vector<uint16_t> gate_up = {};
  std::vector<uint16_t> down = {};
};

// Slots drawn from [lowest, highest]. Sums over the features stay near 1.
Problem MakeProblem(const Sizes& sizes, DType dtype, int lowest_slot, int highest_slot) {
  std::mt19937 random(static_cast<uint32_t>(sizes.rows * 1000 + sizes.hidden));
  std::uniform_int_distribution<int32_t> slot(lowest_slot, highest_slot);
  std::uniform_real_distribution<float> weight(0.1f, 1.0f);
  Problem problem{.sizes = sizes, .dtype = dtype};
  problem.rows = RandomHalves(dtype, sizes.rows * sizes.hidden, random);
  for (int64_t i = 0; i < sizes.rows * sizes.top_k; ++i) {
    problem.slots.push_back(slot(random));
    problem.weights.push_back(weight(random));
  }
  problem.gate_up = RandomHalves(dtype, sizes.experts * 2 * sizes.intermediate * sizes.hidden, random,
                                 1.0f / std::sqrt(static_cast<float>(sizes.hidden)));
  problem.down = RandomHalves(dtype, sizes.experts * sizes.hidden * sizes.intermediate, random,
                              1.0f / std::sqrt(static_cast<float>(sizes.intermediate)));
  return problem;
}

std::vector<uint16_t> RunOnDevice(const Problem& problem, std::optional<ExpertForm> form) {
  const Sizes& sizes = problem.sizes;
  const DeviceVector<uint16_t> rows(problem.rows);
  const DeviceVector<int32_t> slots(problem.slots);
  const DeviceVector<float> weights(problem.weights);
  const DeviceVector<uint16_t> gate_up(problem.gate_up);
  const DeviceVector<uint16_t> down(problem.down);
  // NaN everywhere at first: whatever is read must have been written.
  const DeviceVector<uint8_t> scratch(
      RunExpertsScratchBytes(sizes.rows, sizes.top_k, sizes.hidden, sizes.intermediate, sizes.experts));
  const DeviceVector<uint16_t> out(static_cast<size_t>(sizes.rows * sizes.hidden));
  RunExperts({.dtype = problem.dtype,
              .num_rows = sizes.rows,
              .top_k = sizes.top_k,
              .hidden_size = sizes.hidden,
              .intermediate_size = sizes.intermediate,
              .num_local_experts = sizes.experts,
              .first_slot = sizes.first_slot,
              .rows = rows.data(),
              .slots = slots.data(),
              .weights = weights.data(),
              .gate_up = gate_up.data(),
              .down = down.data(),
              .num_multiprocessors = sizes.num_multiprocessors,
              .form = form,
              .scratch = scratch.data(),
              .out = out.data()},
             TestStream());
  return out.ToHost();
}

// The formula in double, with a bound on what rounding may add to each element: to the type at act, y and out, to
// float32 in every sum.
struct Expected {
  std::vector<double> out;
  std::vector<double> tolerance;
};

class Reference {
 public:
  explicit Reference(const Problem& problem) : problem_(problem), sizes_(problem.sizes) {}

  Expected Compute() const {
    Expected expected{.out = std::vector<double>(sizes_.rows * sizes_.hidden),
                      .tolerance = std::vector<double>(sizes_.rows * sizes_.hidden)};
    for (int64_t pair = 0; pair < sizes_.rows * sizes_.top_k; ++pair) {
      const int64_t expert = problem_.slots[pair] - sizes_.first_slot;
      if (expert < 0 || expert >= sizes_.experts) continue;
      const int64_t row = pair / sizes_.top_k;
      AddExpert(expert, row, problem_.weights[pair], &expected.out[row * sizes_.hidden],
                &expected.tolerance[row * sizes_.hidden]);
    }
    for (size_t i = 0; i < expected.out.size(); ++i) {
      expected.tolerance[i] = 1.05 * (expected.tolerance[i] + HalfRounding(problem_.dtype, expected.out[i]));
    }
    return expected;
  }

 private:
  double Value(const std::vector<uint16_t>& from, int64_t i) const { return FloatFromHalf(problem_.dtype, from[i]); }

  // Sum over i of a[a_begin + i] * b(i), and of the magnitudes.
  template <typename F>
  std::pair<double, double> Dot(const std::vector<uint16_t>& a, int64_t a_begin, int64_t count, F&& b) const {
    double sum = 0;
    double magnitude = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double product = Value(a, a_begin + i) * b(i);
      sum += product;
      magnitude += std::abs(product);
    }
    return {sum, magnitude};
  }

  void AddExpert(int64_t expert, int64_t row, double weight, double* out, double* tolerance) const {
    const int64_t hidden = sizes_.hidden;
    const int64_t intermediate = sizes_.intermediate;
    const double sum_error = 0x1p-23 * static_cast<double>(hidden + 8);  // relative to the sum of magnitudes
    std::vector<double> act(intermediate);
    std::vector<double> act_error(intermediate);
    for (int64_t j = 0; j < intermediate; ++j) {
      const auto x = [&](int64_t i) { return Value(problem_.rows, row * hidden + i); };
      const int64_t w1 = (expert * 2 * intermediate + j) * hidden;
      const int64_t w3 = w1 + intermediate * hidden;
      const auto [gate, gate_magnitude] = Dot(problem_.gate_up, w1, hidden, x);
      const auto [up, up_magnitude] = Dot(problem_.gate_up, w3, hidden, x);
      const double silu = gate / (1.0 + std::exp(-gate));
      act[j] = silu * up;
      // The slope of silu is below 1.1.
      act_error[j] = HalfRounding(problem_.dtype, act[j]) +
                     sum_error * (1.1 * gate_magnitude * std::abs(up) + std::abs(silu) * up_magnitude);
    }
    for (int64_t i = 0; i < hidden; ++i) {
      const int64_t w2 = (expert * hidden + i) * intermediate;
      const auto [sum, magnitude] = Dot(problem_.down, w2, intermediate, [&](int64_t j) { return act[j]; });
      double error = 0x1p-23 * static_cast<double>(intermediate + 8) * magnitude;
      for (int64_t j = 0; j < intermediate; ++j) error += std::abs(Value(problem_.down, w2 + j)) * act_error[j];
      out[i] += weight * sum;
      tolerance[i] += weight * error + HalfRounding(problem_.dtype, weight * sum);
    }
  }

  const Problem& problem_;
  const Sizes& sizes_;
};

void ExpectRight(const Problem& problem, std::optional<ExpertForm> form) {
  const std::vector<uint16_t> out = RunOnDevice(problem, form);
  const Expected expected = Reference(problem).Compute();
  ASSERT_EQ(out.size(), expected.out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t hidden = problem.sizes.hidden;
    ASSERT_NEAR(FloatFromHalf(problem.dtype, out[i]), expected.out[i], expected.tolerance[i])
        << "row " << i / hidden << " of " << problem.sizes.rows << ", element " << i % hidden << " of " << hidden
        << ", intermediate " << problem.sizes.intermediate;
  }
}

class ExpertsTest : public ::testing::TestWithParam<std::tuple<DType, ExpertForm>> {
 protected:
  DType dtype() const { return std::get<0>(GetParam()); }
  ExpertForm form() const { return std::get<1>(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(All, ExpertsTest,
                         ::testing::Combine(::testing::Values(DType::kBFloat16, DType::kFloat16),
                                            ::testing::Values(ExpertForm::kStreaming, ExpertForm::kTiled)),
                         [](const auto& param) {
                           return std::string(Name(std::get<0>(param.param))) +
                                  (std::get<1>(param.param) == ExpertForm::kStreaming ? "Streaming" : "Tiled");
                         });

TEST_P(ExpertsTest, MultipliesRandomRoutings) {
  const Sizes cases[] = {{.rows = 1, .hidden = 40, .intermediate = 72},
                         {.rows = 3, .hidden = 40, .intermediate = 72},
                         {.rows = 17, .hidden = 40, .intermediate = 72},
                         {.rows = 130, .hidden = 40, .intermediate = 72},
                         {.rows = 17, .top_k = 3, .hidden = 136, .intermediate = 40},
                         {.rows = 3, .top_k = 1, .hidden = 72, .intermediate = 136},
                         {.rows = 5, .hidden = 8, .intermediate = 8}};
  // Work is divided finer for many multiprocessors.
  for (const int num_multiprocessors : {1, 200}) {
    for (Sizes sizes : cases) {
      sizes.num_multiprocessors = num_multiprocessors;
      ExpectRight(MakeProblem(sizes, dtype(), 0, 3), form());
    }
  }
}

TEST_P(ExpertsTest, LeavesOtherRanksTheirSlots) {
  ExpectRight(MakeProblem({.rows = 17, .hidden = 72, .intermediate = 40, .first_slot = 4}, dtype(), -1, 11), form());
}

TEST_P(ExpertsTest, SumsASlotThatOccursTwiceInARow) {
  Problem problem = MakeProblem({.rows = 3, .hidden = 40, .intermediate = 40, .experts = 2}, dtype(), 0, 1);
  problem.slots = {1, 1, 0, 0, 1, 0};
  ExpectRight(problem, form());
}

TEST_P(ExpertsTest, SkipsExpertsWithoutRows) {
  ExpectRight(MakeProblem({.rows = 17, .hidden = 40, .intermediate = 72, .experts = 6}, dtype(), 2, 3), form());
}

TEST_P(ExpertsTest, TakesAllRowsOnOneExpert) {
  ExpectRight(MakeProblem({.rows = 130, .top_k = 1, .hidden = 40, .intermediate = 72}, dtype(), 2, 2), form());
}

TEST_P(ExpertsTest, WritesZerosWhereNoExpertIsLocal) {
  const Problem none_chosen =
      MakeProblem({.rows = 17, .hidden = 40, .intermediate = 72, .first_slot = 8}, dtype(), -1, 7);
  EXPECT_THAT(RunOnDevice(none_chosen, form()), ::testing::Each(0));
  const Problem none_there = MakeProblem({.rows = 17, .hidden = 40, .intermediate = 72, .experts = 0}, dtype(), -1, 7);
  EXPECT_THAT(RunOnDevice(none_there, form()), ::testing::Each(0));
}

TEST_P(ExpertsTest, TakesNoRows) {
  EXPECT_THAT(RunOnDevice(MakeProblem({.hidden = 40, .intermediate = 72}, dtype(), 0, 3), form()),
              ::testing::IsEmpty());
}

// Longer than the rings of copies under way, in either product, for one entry and for several tiles of them, and
// divided among few and many multiprocessors.
TEST_P(ExpertsTest, SumsOverManySteps) {
  const Sizes cases[] = {{.rows = 2, .hidden = 584, .intermediate = 40, .experts = 2},
                         {.rows = 2, .hidden = 40, .intermediate = 584, .experts = 2},
                         {.rows = 2, .hidden = 40, .intermediate = 1160, .experts = 2, .num_multiprocessors = 200},
                         {.rows = 20, .hidden = 328, .intermediate = 40, .experts = 2},
                         {.rows = 20, .hidden = 40, .intermediate = 328, .experts = 2}};
  for (const Sizes& sizes : cases) ExpectRight(MakeProblem(sizes, dtype(), 0, 1), form());
}

TEST_P(ExpertsTest, GivesTheSameBitsEveryTime) {
  const Problem problem = MakeProblem({.rows = 33, .hidden = 72, .intermediate = 136}, dtype(), -1, 3);
  EXPECT_EQ(RunOnDevice(problem, form()), RunOnDevice(problem, form()));
}

// More tiles of one expert than are ordered as one group.
TEST(ExpertsTiled, TakesManyTilesOfOneExpert) {
  ExpectRight(
      MakeProblem({.rows = 2200, .top_k = 1, .hidden = 8, .intermediate = 136, .experts = 2}, DType::kFloat16, 0, 1),
      ExpertForm::kTiled);
  ExpectRight(
      MakeProblem({.rows = 2200, .top_k = 1, .hidden = 8, .intermediate = 136, .experts = 2}, DType::kFloat16, 1, 1),
      ExpertForm::kTiled);
}

TEST(ChooseExpertForm, StreamsForFewRowsAndTilesForMany) {
  EXPECT_EQ(ChooseExpertForm(1, 2, 4), ExpertForm::kStreaming);
  EXPECT_EQ(ChooseExpertForm(4096, 2, 8), ExpertForm::kTiled);
  const Problem few = MakeProblem({.rows = 3, .hidden = 40, .intermediate = 40}, DType::kBFloat16, 0, 3);
  EXPECT_EQ(RunOnDevice(few, std::nullopt), RunOnDevice(few, ExpertForm::kStreaming));
}

}  // namespace
}  // namespace switchyard::cuda
