#include "kernels/cuda/quantized_experts.h"

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/experts.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"
#include "tests/kernels/cuda/quantized_problem.h"

namespace switchyard::cuda {
namespace {

// A product and a bound on what float32 sums and the roundings named add to it.
struct Bounded {
  double value = 0;
  double error = 0;
};

// Sum of w[i] * x(i), x with an error of x_error(i).
template <typename X, typename Error>
Bounded Dot(const double* w, int64_t count, X&& x, Error&& x_error) {
  Bounded sum;
  double magnitude = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum.value += w[i] * x(i);
    sum.error += std::abs(w[i]) * x_error(i);
    magnitude += std::abs(w[i] * x(i));
  }
  sum.error += 0x1p-23 * static_cast<double>(count + 8) * magnitude;
  return sum;
}

using LinearCase = std::tuple<DType, QuantizedForm, NamedQuantization>;

std::string LinearName(const testing::TestParamInfo<LinearCase>& info) {
  return std::string(Name(std::get<0>(info.param))) +
         (std::get<1>(info.param) == QuantizedForm::kStreaming ? "Streaming" : "Tiled") + std::get<2>(info.param).name;
}

class QuantizedLinearTest : public testing::TestWithParam<LinearCase> {
 protected:
  DType dtype() const { return std::get<0>(GetParam()); }
  QuantizedForm form() const { return std::get<1>(GetParam()); }
  Quantization quantization() const { return std::get<2>(GetParam()).quantization; }

  void ExpectRight(const Quantization& quantization, int64_t rows, int64_t columns, int64_t entries, DType y_dtype,
                   int num_multiprocessors = 1, int64_t rows_a_turn = 1000) {
    const std::vector<QuantizedTensor> weight = {RandomQuantized(quantization, rows, columns, random_)};
    const std::vector<uint16_t> x = RandomHalves(dtype(), entries * columns, random_);
    const DeviceVector<uint8_t> memory = UploadQuantized(weight);
    const DeviceVector<uint16_t> device_x(x);
    const DeviceVector<uint16_t> half_y(static_cast<size_t>(y_dtype == DType::kFloat32 ? 0 : entries * rows));
    const DeviceVector<float> float_y(static_cast<size_t>(y_dtype == DType::kFloat32 ? entries * rows : 0));
    const DeviceVector<uint16_t> scratch(static_cast<size_t>(rows_a_turn * columns));
    QuantizedLinear({.dtype = dtype(),
                     .y_dtype = y_dtype,
                     .num_rows = entries,
                     .weight = ViewOf(weight, memory),
                     .x = device_x.data(),
                     .y = y_dtype == DType::kFloat32 ? static_cast<void*>(float_y.data()) : half_y.data(),
                     .num_multiprocessors = num_multiprocessors,
                     .form = form(),
                     .scratch = scratch.data(),
                     .scratch_bytes = scratch.bytes()},
                    TestStream());
    std::vector<double> y;
    for (const float value : float_y.ToHost()) y.push_back(value);
    for (const uint16_t value : half_y.ToHost()) y.push_back(FloatFromHalf(dtype(), value));
    const std::vector<double> values = ProductValues(weight[0], dtype());
    for (int64_t i = 0; i < entries * rows; ++i) {
      const Bounded expected = Dot(
          &values[static_cast<size_t>(i % rows * columns)], columns,
          [&](int64_t c) { return FloatFromHalf(dtype(), x[static_cast<size_t>(i / rows * columns + c)]); },
          [](int64_t) { return 0.0; });
      const double rounding = y_dtype == DType::kFloat32 ? 0 : HalfRounding(dtype(), expected.value);
      ASSERT_NEAR(y[static_cast<size_t>(i)], expected.value, 1.05 * (expected.error + rounding))
          << "entry " << i / rows << " of " << entries << ", row " << i % rows << " of " << rows << ", " << columns
          << " columns";
    }
  }

  std::mt19937 random_{20240611};
};

INSTANTIATE_TEST_SUITE_P(All, QuantizedLinearTest,
                         testing::Combine(testing::Values(DType::kBFloat16, DType::kFloat16),
                                          testing::Values(QuantizedForm::kStreaming, QuantizedForm::kTiled),
                                          testing::ValuesIn(AllQuantizations())),
                         LinearName);

TEST_P(QuantizedLinearTest, MultipliesOneRowAndSeveral) {
  for (const int64_t entries : {1, 3, 8, 9, 19}) ExpectRight(quantization(), 24, 192, entries, dtype());
}

TEST_P(QuantizedLinearTest, TakesAnyNumberOfFeatures) {
  for (const int64_t features : {1, 8, 33, 67}) ExpectRight(quantization(), features, 64, 2, DType::kFloat32);
  ExpectRight(quantization(), 67, 128, 10, DType::kFloat32);
}

// Where the format allows it rows end within a group, a block and a section.
TEST_P(QuantizedLinearTest, TakesAnyNumberOfColumns) {
  const int64_t step = quantization().format == WeightFormat::kNf4 ? 64 : 8;
  for (const int64_t blocks : {1, 5, 9, 17, 23}) ExpectRight(quantization(), 17, step * blocks, 3, dtype());
}

// More steps than the warps of a block take at once, and more nested scales than one.
TEST_P(QuantizedLinearTest, SumsOverManySteps) {
  ExpectRight(quantization(), 16, 64 * 67, 2, dtype());
  ExpectRight(quantization(), 16, 64 * 67, 10, DType::kFloat32);
}

TEST_P(QuantizedLinearTest, DividesWorkAmongFewAndManyMultiprocessors) {
  for (const int num_multiprocessors : {1, 200}) {
    ExpectRight(quantization(), 400, 64, 2, dtype(), num_multiprocessors);
    ExpectRight(quantization(), 400, 64, 11, dtype(), num_multiprocessors);
  }
}

TEST_P(QuantizedLinearTest, BringsRowsToTheOrderOfTheColumns) {
  Quantization reordered = quantization();
  reordered.reordered = true;
  ExpectRight(reordered, 24, 192, 7, dtype());
  ExpectRight(reordered, 24, 192, 7, DType::kFloat32, 1, 2);  // two rows at a time
}

TEST(QuantizedLinear, TakesNoRowsAndNoFeatures) {
  QuantizedLinear({.num_rows = 0, .weight = {.rows = 8, .columns = 8}}, TestStream());
  QuantizedLinear({.num_rows = 8, .weight = {.rows = 0, .columns = 8}}, TestStream());
  SynchronizeTestStream();
}

struct Sizes {
  int64_t rows = 0;
  int64_t top_k = 2;
  int64_t hidden = 128;
  int64_t intermediate = 64;
  int64_t experts = 4;
  int64_t first_slot = 0;
  int num_multiprocessors = 1;
};

struct Problem {
  Sizes sizes;
  DType dtype = DType::kBFloat16;
  std::vector<uint16_t> rows = {};
  std::vector<int32_t> slots = {};
  std::vector<float> weights = {};
  std::vector<QuantizedTensor> gate_up = {};
  std::vector<QuantizedTensor> down = {};
};

// Slots drawn from [lowest, highest].
Problem MakeProblem(const Sizes& sizes, DType dtype, const Quantization& gate_up, const Quantization& down, int lowest,
                    int highest) {
  std::mt19937 random(static_cast<uint32_t>(sizes.rows * 1000 + sizes.hidden));
  std::uniform_int_distribution<int32_t> slot(lowest, highest);
  std::uniform_real_distribution<float> weight(0.1f, 1.0f);
  Problem problem{.sizes = sizes, .dtype = dtype};
  problem.rows = RandomHalves(dtype, sizes.rows * sizes.hidden, random);
  for (int64_t i = 0; i < sizes.rows * sizes.top_k; ++i) {
    problem.slots.push_back(slot(random));
    problem.weights.push_back(weight(random));
  }
  for (int64_t e = 0; e < sizes.experts; ++e) {
    problem.gate_up.push_back(RandomQuantized(gate_up, 2 * sizes.intermediate, sizes.hidden, random));
    problem.down.push_back(RandomQuantized(down, sizes.hidden, sizes.intermediate, random));
  }
  return problem;
}

// Results of runs one behind the other in the same scratch; each has slots of its own, all else is the problem's.
std::vector<std::vector<uint16_t>> RunsOnDevice(const Problem& problem, std::optional<QuantizedForm> form,
                                                const std::vector<std::vector<int32_t>>& slots_of_runs) {
  const Sizes& sizes = problem.sizes;
  const DeviceVector<uint16_t> rows(problem.rows);
  const DeviceVector<float> weights(problem.weights);
  const DeviceVector<uint8_t> gate_up(UploadQuantized(problem.gate_up));
  const DeviceVector<uint8_t> down(UploadQuantized(problem.down));
  // NaN everywhere at first: whatever is read must have been written.
  const DeviceVector<uint8_t> scratch(
      RunExpertsScratchBytes(sizes.rows, sizes.top_k, sizes.hidden, sizes.intermediate, sizes.experts));
  std::vector<DeviceVector<int32_t>> slots;
  std::vector<DeviceVector<uint16_t>> out;
  for (const std::vector<int32_t>& of_run : slots_of_runs) {
    slots.emplace_back(of_run);
    out.emplace_back(static_cast<size_t>(sizes.rows * sizes.hidden));
  }
  for (size_t run = 0; run < slots.size(); ++run) {
    RunQuantizedExperts({.dtype = problem.dtype,
                         .num_rows = sizes.rows,
                         .top_k = sizes.top_k,
                         .num_local_experts = sizes.experts,
                         .first_slot = sizes.first_slot,
                         .rows = rows.data(),
                         .slots = slots[run].data(),
                         .weights = weights.data(),
                         .gate_up = ViewOf(problem.gate_up, gate_up),
                         .down = ViewOf(problem.down, down),
                         .num_multiprocessors = sizes.num_multiprocessors,
                         .form = form,
                         .scratch = scratch.data(),
                         .out = out[run].data()},
                        TestStream());
  }
  std::vector<std::vector<uint16_t>> results;
  for (const DeviceVector<uint16_t>& of_run : out) results.push_back(of_run.ToHost());
  return results;
}

std::vector<uint16_t> RunOnDevice(const Problem& problem, std::optional<QuantizedForm> form) {
  return RunsOnDevice(problem, form, {problem.slots})[0];
}

std::vector<Bounded> Expected(const Problem& problem) {
  const Sizes& sizes = problem.sizes;
  const DType dtype = problem.dtype;
  std::vector<Bounded> out(static_cast<size_t>(sizes.rows * sizes.hidden));
  std::vector<std::vector<double>> gate_up;
  std::vector<std::vector<double>> down;
  for (const QuantizedTensor& matrix : problem.gate_up) gate_up.push_back(ProductValues(matrix, dtype));
  for (const QuantizedTensor& matrix : problem.down) down.push_back(ProductValues(matrix, dtype));
  for (int64_t pair = 0; pair < sizes.rows * sizes.top_k; ++pair) {
    const int64_t expert = problem.slots[static_cast<size_t>(pair)] - sizes.first_slot;
    if (expert < 0 || expert >= sizes.experts) continue;
    const int64_t row = pair / sizes.top_k;
    const auto x = [&](int64_t i) {
      return FloatFromHalf(dtype, problem.rows[static_cast<size_t>(row * sizes.hidden + i)]);
    };
    const auto exact = [](int64_t) { return 0.0; };
    std::vector<Bounded> act;
    for (int64_t j = 0; j < sizes.intermediate; ++j) {
      const double* w1 = gate_up[static_cast<size_t>(expert)].data() + j * sizes.hidden;
      const Bounded gate = Dot(w1, sizes.hidden, x, exact);
      const Bounded up = Dot(w1 + sizes.intermediate * sizes.hidden, sizes.hidden, x, exact);
      const double silu = gate.value / (1.0 + std::exp(-gate.value));
      // The slope of silu is below 1.1.
      act.push_back({silu * up.value, HalfRounding(dtype, silu * up.value) + 1.1 * gate.error * std::abs(up.value) +
                                          std::abs(silu) * up.error});
    }
    const double weight = problem.weights[static_cast<size_t>(pair)];
    for (int64_t i = 0; i < sizes.hidden; ++i) {
      const Bounded sum = Dot(
          down[static_cast<size_t>(expert)].data() + i * sizes.intermediate, sizes.intermediate,
          [&](int64_t j) { return act[static_cast<size_t>(j)].value; },
          [&](int64_t j) { return act[static_cast<size_t>(j)].error; });
      Bounded& to = out[static_cast<size_t>(row * sizes.hidden + i)];
      to.value += weight * sum.value;
      to.error += weight * sum.error + HalfRounding(dtype, weight * sum.value);
    }
  }
  return out;
}

void ExpectRight(const Problem& problem, QuantizedForm form) {
  const std::vector<uint16_t> out = RunOnDevice(problem, form);
  const std::vector<Bounded> expected = Expected(problem);
  ASSERT_EQ(out.size(), expected.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const double tolerance = 1.05 * (expected[i].error + HalfRounding(problem.dtype, expected[i].value));
    ASSERT_NEAR(FloatFromHalf(problem.dtype, out[i]), expected[i].value, tolerance)
        << "row " << i / static_cast<size_t>(problem.sizes.hidden) << " of " << problem.sizes.rows;
  }
}

class QuantizedExpertsTest : public testing::TestWithParam<LinearCase> {
 protected:
  DType dtype() const { return std::get<0>(GetParam()); }
  QuantizedForm form() const { return std::get<1>(GetParam()); }
  Quantization quantization() const { return std::get<2>(GetParam()).quantization; }
  Problem Make(const Sizes& sizes, int lowest, int highest) const {
    return MakeProblem(sizes, dtype(), quantization(), quantization(), lowest, highest);
  }
};

INSTANTIATE_TEST_SUITE_P(All, QuantizedExpertsTest,
                         testing::Combine(testing::Values(DType::kBFloat16, DType::kFloat16),
                                          testing::Values(QuantizedForm::kStreaming, QuantizedForm::kTiled),
                                          testing::ValuesIn(SomeQuantizations())),
                         LinearName);

TEST_P(QuantizedExpertsTest, MultipliesRandomRoutings) {
  for (const int num_multiprocessors : {1, 200}) {
    for (const int64_t rows : {1, 3, 21}) {
      ExpectRight(Make({.rows = rows, .num_multiprocessors = num_multiprocessors}, 0, 3), form());
    }
  }
}

TEST_P(QuantizedExpertsTest, LeavesOtherRanksTheirSlotsAndSkipsPaddingRows) {
  ExpectRight(Make({.rows = 17, .hidden = 64, .first_slot = 4}, -1, 11), form());
}

TEST_P(QuantizedExpertsTest, SkipsExpertsWithoutRowsAndSumsASlotTwice) {
  ExpectRight(Make({.rows = 5, .top_k = 3, .hidden = 64, .experts = 6}, 2, 3), form());
}

TEST_P(QuantizedExpertsTest, TakesAllRowsOnOneExpert) {
  ExpectRight(Make({.rows = 35, .top_k = 1, .hidden = 64}, 2, 2), form());
}

TEST_P(QuantizedExpertsTest, FollowsTheColumnOrdersOfEveryExpert) {
  Quantization reordered = quantization();
  reordered.reordered = true;
  const Sizes sizes = {.rows = 6};
  ExpectRight(MakeProblem(sizes, dtype(), reordered, quantization(), 0, 3), form());
  ExpectRight(MakeProblem(sizes, dtype(), quantization(), reordered, 0, 3), form());
  ExpectRight(MakeProblem(sizes, dtype(), reordered, reordered, -1, 5), form());
}

TEST_P(QuantizedExpertsTest, WritesZerosWhereNoExpertIsLocal) {
  EXPECT_THAT(RunOnDevice(Make({.rows = 5, .hidden = 64, .first_slot = 8}, -1, 7), form()), testing::Each(0));
}

TEST_P(QuantizedExpertsTest, TakesNoRowsAndGivesTheSameBitsEveryTime) {
  EXPECT_THAT(RunOnDevice(Make({.rows = 0}, 0, 3), form()), testing::IsEmpty());
  const Problem problem = Make({.rows = 9, .hidden = 64}, 0, 3);
  EXPECT_EQ(RunOnDevice(problem, form()), RunOnDevice(problem, form()));
}

// The second product takes its lists from before the kernel ahead of it (lists_are_settled). It has more blocks than
// the first here: on multiprocessors that were idle since the run before, whose lists they must not find.
TEST_P(QuantizedExpertsTest, FollowsTheSlotsOfEachRunOneBehindTheOther) {
  const Problem problem = Make({.rows = 4, .hidden = 512, .experts = 8, .num_multiprocessors = 100}, 0, 7);
  std::vector<std::vector<int32_t>> slots_of_runs = {problem.slots};
  for (int run = 1; run < 8; ++run) {
    slots_of_runs.push_back(slots_of_runs.back());
    for (int32_t& slot : slots_of_runs.back()) slot = (slot + 3) % 8;
  }
  const std::vector<std::vector<uint16_t>> together = RunsOnDevice(problem, form(), slots_of_runs);
  for (size_t run = 0; run < together.size(); ++run) {
    EXPECT_EQ(together[run], RunsOnDevice(problem, form(), {slots_of_runs[run]})[0]) << "run " << run;
  }
}

TEST(ChooseQuantizedForm, StreamsForFewEntriesPerExpertAndTilesForMany) {
  for (const WeightFormat format : {WeightFormat::kNf4, WeightFormat::kInt4, WeightFormat::kInt8}) {
    EXPECT_EQ(ChooseQuantizedForm(format, 2, 8), QuantizedForm::kStreaming);
    EXPECT_EQ(ChooseQuantizedForm(format, 16, 1), QuantizedForm::kStreaming);
    EXPECT_EQ(ChooseQuantizedForm(format, 128, 8), QuantizedForm::kStreaming);
    EXPECT_EQ(ChooseQuantizedForm(format, 4096, 1), QuantizedForm::kTiled);
    EXPECT_EQ(ChooseQuantizedForm(format, 8192, 8), QuantizedForm::kTiled);
  }
}

}  // namespace
}  // namespace switchyard::cuda
