// Products with quantised weights and activations rounded to 8 bits.
#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "kernels/cpu/quantized_activations.h"
#include "kernels/cpu/quantized_int8_gemm.h"
#include "tests/kernels/quantized_weights.h"

namespace switchyard {
namespace {

using testing::HasSubstr;
using testing::Not;

class QuantizedInt8Test : public BackendTest {
 protected:
  void SetUp() override {
    BackendTest::SetUp();
    CpuBackendOptions options = GetParam().options;
    float32_ = CreateCpuBackend(options);
    options.int8_activations = true;
    backend_ = CreateCpuBackend(options);
  }
  std::vector<float> Product(Backend& backend, const Matrix& weight, const std::vector<float>& x, int64_t rows) {
    std::vector<float> y(rows * weight.spec().out_features, NAN);
    backend.Linear(View(x, {rows, weight.spec().in_features}), weight, View(y, {rows, weight.spec().out_features}));
    return y;
  }

  std::unique_ptr<Backend> float32_;
};

std::vector<BackendCase> FastCases() {
  std::vector<BackendCase> cases = AllBackendCases();
  std::erase_if(cases, [](const BackendCase& backend) { return backend.options.reference; });
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Cpu, QuantizedInt8Test, testing::ValuesIn(FastCases()),
                         [](const auto& info) { return info.param.name; });

// One row of x as the header of quantized_activations.h says, and what its product with a weight row must be.
struct Emulation {
  std::vector<double> codes;   // [in], in stored order
  std::vector<double> scales;  // of each column's group
};

Emulation Round(const float* x, const QuantizedWeights& weights) {
  const int64_t in = weights.spec.in_features;
  Emulation row = {std::vector<double>(in), std::vector<double>(in)};
  const auto stored = [&](int64_t c) { return x[weights.order.empty() ? c : weights.order[c]]; };
  for (int64_t first = 0; first < in; first += 32) {
    const int64_t end = std::min(in, first + 32);
    float largest = 0;
    for (int64_t c = first; c < end; ++c) largest = std::max(largest, std::abs(stored(c)));
    const float inverse = largest == 0 ? 0 : 127.0f / largest;
    for (int64_t c = first; c < end; ++c) {
      row.codes[c] = std::nearbyint(stored(c) * inverse);
      row.scales[c] = largest / 127.0f;
    }
  }
  return row;
}

struct Expected {
  double value = 0;      // of the rounded operands
  double magnitude = 0;  // sum of the magnitudes of what is added in float32
  double deviation = 0;  // of `value` from the exact product, as a standard deviation
};

Expected Dot(const Emulation& x, const QuantizedWeights& weights, int64_t row) {
  const Quantization& quantization = weights.spec.quantization;
  const int64_t in = weights.spec.in_features;
  Expected result;
  double variance = 0;
  for (int64_t first = 0; first < in; first += 32) {
    const int64_t group = first / quantization.group_size;
    const double scale = weights.scales[row * quantization.NumGroups(in) + group] * x.scales[first];
    double dot = 0, excess = 0;
    for (int64_t c = first; c < std::min(in, first + 32); ++c) {
      const int code = weights.Code(row, c);
      double weight = 0, error = 0;
      if (quantization.format == WeightFormat::kNf4) {
        weight = std::nearbyint(127.0f * kNf4Values[code]) / 127.0;
        error = weight - kNf4Values[code];
      } else {
        weight = code - weights.Zero(row, group);
      }
      dot += weight * x.codes[c];
      excess += (quantization.default_zero() - weights.Zero(row, group)) * x.codes[c];
      variance += scale * scale * (weight * weight / 12 + error * error * x.codes[c] * x.codes[c]);
    }
    result.value += scale * dot;
    result.magnitude += std::abs(scale) * (std::abs(dot - excess) + std::abs(excess));
  }
  result.deviation = std::sqrt(variance);
  return result;
}

TEST_P(QuantizedInt8Test, LinearIsThatOfRoundedActivations) {
  const struct {
    int64_t rows, out, in;
  } shapes[] = {{0, 5, 64},    {1, 16, 64},   {2, 65, 192}, {3, 33, 200},
                {7, 130, 128}, {33, 20, 256}, {1, 97, 17},  {2, 20, 1100}};
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    for (const auto& [rows, out, in] : shapes) {
      if (!ValidateQuantization(quantization, in).ok()) continue;
      SCOPED_TRACE(testing::Message() << name << " " << rows << " x " << in << " -> " << out);
      const QuantizedWeights weights = RandomQuantized(out, in, quantization, random_);
      const std::unique_ptr<Matrix> matrix = weights.Make(*backend_);
      const std::vector<float> x = Normal(rows * in);
      const std::vector<float> y = Product(*backend_, *matrix, x, rows);
      for (int64_t t = 0; t < rows; ++t) {
        const Emulation row = Round(x.data() + t * in, weights);
        for (int64_t o = 0; o < out; ++o) {
          const Expected expected = Dot(row, weights, o);
          double exact = 0;
          for (int64_t i = 0; i < in; ++i) exact += static_cast<double>(x[t * in + i]) * weights.Row(o)[i];
          ASSERT_NEAR(y[t * out + o], expected.value, 8 * kEpsilon * expected.magnitude) << t << " " << o;
          ASSERT_NEAR(y[t * out + o], exact, 6 * expected.deviation) << t << " " << o;
        }
      }
    }
  }
}

TEST_P(QuantizedInt8Test, ARowsResultDoesNotDependOnTheOtherRows) {
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    const int64_t rows = 21, out = 37, in = 192;
    const std::unique_ptr<Matrix> matrix = RandomQuantized(out, in, quantization, random_).Make(*backend_);
    const std::vector<float> x = Normal(rows * in);
    const std::vector<float> together = Product(*backend_, *matrix, x, rows);
    for (int64_t t = 0; t < rows; ++t) {
      const std::vector<float> row(x.begin() + t * in, x.begin() + (t + 1) * in);
      const std::vector<float> expected(together.begin() + t * out, together.begin() + (t + 1) * out);
      ASSERT_EQ(Product(*backend_, *matrix, row, 1), expected) << name << " row " << t;
    }
  }
}

TEST_P(QuantizedInt8Test, WhatIsNotFiniteStaysInItsRow) {
  const Quantization quantization = {.format = WeightFormat::kInt4, .group_size = 64, .has_zeros = true};
  const std::unique_ptr<Matrix> matrix = RandomQuantized(37, 96, quantization, random_).Make(*backend_);
  std::vector<float> x = Normal(8 * 96);
  x[96 + 40] = NAN;
  x[3 * 96 + 2] = INFINITY;
  std::fill(x.begin() + 5 * 96, x.begin() + 6 * 96, 0.0f);
  const std::vector<float> y = Product(*backend_, *matrix, x, 8);
  for (int64_t i = 0; i < 8 * 37; ++i) {
    EXPECT_EQ(std::isfinite(y[i]), i / 37 != 1 && i / 37 != 3) << i;
    EXPECT_EQ(y[i] == 0.0f, i / 37 == 5) << i;
  }
}

TEST_P(QuantizedInt8Test, ExpertsAreCloseToFloat32) {
  const int64_t num_experts = 3, hidden = 128, intermediate = 192, rows = 40, top_k = 2;
  const ExpertWeightsSpec spec = {num_experts,
                                  hidden,
                                  intermediate,
                                  DType::kBFloat16,
                                  {.format = WeightFormat::kInt4, .group_size = 64, .reordered = true},
                                  {.format = WeightFormat::kInt8, .group_size = 128}};
  const auto experts = *backend_->CreateExperts(spec);
  for (int64_t e = 0; e < num_experts; ++e) {
    RandomQuantized(2 * intermediate, hidden, spec.gate_up, random_).Fill(experts->gate_up(e), 0, 2 * intermediate);
    RandomQuantized(hidden, intermediate, spec.down, random_).Fill(experts->down(e), 0, hidden);
  }
  const std::vector<float> x = Normal(rows * hidden, 0.3f), weights(rows * top_k, 0.5f);
  std::vector<int32_t> slots(rows * top_k);
  for (int32_t& slot : slots) slot = static_cast<int32_t>(Uniform(-1, num_experts));
  std::vector<float> out(rows * hidden, NAN), expected = out;
  const auto run = [&](Backend& backend, std::vector<float>& result) {
    backend.RunExperts(*experts, {View(x, {rows, hidden}), View(slots, {rows, top_k}), View(weights, {rows, top_k}), 0,
                                  View(result, {rows, hidden})});
  };
  run(*backend_, out);
  run(*float32_, expected);
  double error = 0, size = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    error += std::pow(static_cast<double>(out[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  // A rounding is off by 1 / (127 sqrt(12)) of the largest of 32, some 2.1 deviations: 0.5%. Of two factors and again.
  EXPECT_LT(std::sqrt(error / size), 0.015);
  EXPECT_GT(error, 0.0) << "the float32 kernel ran instead";
}

TEST_P(QuantizedInt8Test, DenseWeightsAndTheRouterStayFloat32) {
  const std::vector<float> x = Normal(20 * 96);
  const TestMatrix dense = RandomMatrix(*backend_, {70, 96, DType::kBFloat16}, random_);
  EXPECT_EQ(Product(*backend_, *dense.matrix, x, 20), Product(*float32_, *dense.matrix, x, 20));
  const auto router =
      RandomQuantized(8, 96, {.format = WeightFormat::kInt8, .group_size = 64}, random_).Make(*backend_);
  std::vector<int32_t> experts(20 * 2), counts(8);
  std::vector<float> weights(20 * 2), expected(20 * 2);
  const auto route = [&](Backend& backend, std::vector<float>& result) {
    backend.Route({8, 2, true}, View(x, {20, 96}), *router, ConstTensorView(),
                  {View(experts, {20, 2}), View(result, {20, 2}), View(counts, {8})});
  };
  route(*backend_, weights);
  route(*float32_, expected);
  EXPECT_EQ(weights, expected);
}

TEST_P(QuantizedInt8Test, DescriptionNamesTheActivations) {
  EXPECT_THAT(backend_->Description(), HasSubstr(", int8 activations ("));
  EXPECT_THAT(float32_->Description(), Not(HasSubstr("activations")));
}

TEST(QuantizedInt8, ResultsDoNotDependOnTheNumberOfThreads) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const bool int8 : {false, true}) {
    const auto one = CreateCpuBackend({.num_threads = 1, .int8_activations = int8});
    const auto three = CreateCpuBackend({.num_threads = 3, .int8_activations = int8});
    const Quantization quantization = {.format = WeightFormat::kNf4, .group_size = 64};
    const auto matrix = RandomQuantized(1000, 256, quantization, random).Make(*one);
    std::vector<float> x(30 * 256), y(30 * 1000), expected = y;
    for (float& value : x) value = normal(random);
    one->Linear(View(x, {30, 256}), *matrix, View(expected, {30, 1000}));
    three->Linear(View(x, {30, 256}), *matrix, View(y, {30, 1000}));
    EXPECT_EQ(y, expected);
  }
}

TEST(QuantizedInt8, PlainInstructionsGiveWhatVnniGives) {
  if (BestInt8Dot() != Int8Dot::kVnni) GTEST_SKIP() << "this CPU has no VNNI";
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  const auto backend = CreateCpuBackend({});
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    const auto matrix = RandomQuantized(50, 192, quantization, random).Make(*backend);
    const QuantizedMatrix& weight = QuantizedMatrix::From(*matrix);
    std::vector<float> x(10 * 192), y(10 * 50), expected = y;
    for (float& value : x) value = normal(random);
    std::vector<ActivationGroup> packed(Int8Rows::PackedSize(10, 192));
    for (int64_t tile = 0; tile < Int8Rows::NumTiles(10); ++tile) {
      Int8Rows::PackTile(
          10, tile, weight, [&](int64_t row) { return x.data() + row * 192; }, packed.data());
    }
    MultiplyInt8Blocks(Int8Dot::kVnni, packed.data(), 10, weight, 0, weight.num_blocks(), expected.data());
    MultiplyInt8Blocks(Int8Dot::kPlain, packed.data(), 10, weight, 0, weight.num_blocks(), y.data());
    EXPECT_EQ(y, expected) << name;
  }
}

TEST(QuantizedActivations, RoundToNearestWithTiesToEvenAndPadWithZeros) {
  std::vector<float> row(40, 0.0f);
  row[0] = 127.0f;
  row[1] = 2.5f;
  row[2] = -3.5f;
  row[3] = 0.4f;
  row[32] = -254.0f;
  ActivationGroup groups[4];
  RoundActivations(row.data(), 40, 8, 2, groups);
  EXPECT_THAT(std::vector<int>(groups[0].codes, groups[0].codes + 5), testing::ElementsAre(127, 2, -4, 0, 0));
  EXPECT_EQ(groups[0].scale, 1.0f);
  EXPECT_EQ(groups[0].offset, -8 * 125);
  EXPECT_EQ(groups[0].scaled_sum, 125.0f);
  EXPECT_THAT(std::vector<int>(groups[2].codes, groups[2].codes + 32),
              testing::AllOf(testing::Contains(-127).Times(1), testing::Contains(0).Times(31)));
  EXPECT_EQ(groups[2].scale, 2.0f);
}

}  // namespace
}  // namespace switchyard
