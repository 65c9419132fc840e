// RMSNorm on the device, against double precision.
#include "kernels/cuda/norm.h"

#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

class NormTest : public HalfTest {
 protected:
  // `out` against the norm of `x`, both [tokens, hidden].
  void ExpectNorm(const std::vector<float>& x, const std::vector<float>& weight, float eps,
                  const std::vector<uint16_t>& out) {
    const auto hidden = static_cast<int64_t>(weight.size());
    ASSERT_EQ(out.size(), x.size());
    for (size_t t = 0; t * hidden < x.size(); ++t) {
      double squares = 0;
      for (int64_t i = 0; i < hidden; ++i) squares += double{x[t * hidden + i]} * x[t * hidden + i];
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(hidden) + eps);
      // Sums of positive numbers: at most one rounding per number that a thread adds, and of the tree above.
      const double relative = (32 + 10 + 5) * 0x1p-24;
      for (int64_t i = 0; i < hidden; ++i) {
        const double expected = x[t * hidden + i] * factor * weight[i];
        ASSERT_NEAR(FloatFromHalf(GetParam(), out[t * hidden + i]), expected,
                    HalfRounding(GetParam(), expected) * 1.001 + relative * std::abs(expected))
            << "token " << t << " element " << i;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Types, NormTest, HalfTypes(), HalfTypeName);

// One, two and three or four vectors per thread; warps with idle lanes.
constexpr int64_t kHiddenSizes[] = {8, 24, 256, 264, 4096, 8192, 8200, 16384, 16392, 32768};

TEST_P(NormTest, DividesByTheRootMeanSquare) {
  for (const int64_t hidden : kHiddenSizes) {
    for (const int64_t tokens : {0, 1, 3}) {
      SCOPED_TRACE(testing::Message() << tokens << " x " << hidden);
      const std::vector<float> x = RandomFloats(tokens * hidden, random_, 3.0f);
      const std::vector<float> weight = RandomFloats(hidden, random_);
      const DeviceVector<float> device_x(x);
      const DeviceVector<float> device_weight(weight);
      DeviceVector<uint16_t> out(static_cast<size_t>(tokens * hidden));
      RmsNorm({.dtype = GetParam(),
               .num_tokens = tokens,
               .hidden_size = hidden,
               .eps = 1e-5f,
               .weight = device_weight.data()},
              device_x.data(), out.data(), TestStream());
      ExpectNorm(x, weight, 1e-5f, out.ToHost());
      EXPECT_EQ(device_x.ToHost(), x);
    }
  }
}

TEST_P(NormTest, AddsToTheResidualAndNormalisesTheSum) {
  for (const int64_t hidden : kHiddenSizes) {
    for (const int64_t tokens : {0, 1, 4}) {
      SCOPED_TRACE(testing::Message() << tokens << " x " << hidden);
      std::vector<float> residual = RandomFloats(tokens * hidden, random_, 20.0f);
      const std::vector<uint16_t> delta = RandomHalves(GetParam(), tokens * hidden, random_);
      const std::vector<float> weight = RandomFloats(hidden, random_);
      const DeviceVector<uint16_t> device_delta(delta);
      const DeviceVector<float> device_weight(weight);
      DeviceVector<float> device_residual(residual);
      DeviceVector<uint16_t> out(static_cast<size_t>(tokens * hidden));
      AddRmsNorm({.dtype = GetParam(),
                  .num_tokens = tokens,
                  .hidden_size = hidden,
                  .eps = 1e-6f,
                  .weight = device_weight.data()},
                 device_delta.data(), device_residual.data(), out.data(), TestStream());
      for (size_t i = 0; i < residual.size(); ++i) residual[i] += FloatFromHalf(GetParam(), delta[i]);
      EXPECT_EQ(device_residual.ToHost(), residual);
      ExpectNorm(residual, weight, 1e-6f, out.ToHost());
    }
  }
}

TEST_P(NormTest, TurnsZerosIntoZerosAndKeepsRowsApart) {
  constexpr int64_t kHidden = 40;
  std::vector<float> x = RandomFloats(3 * kHidden, random_);
  std::fill(x.begin(), x.begin() + kHidden, 0.0f);
  x[kHidden + 7] = NAN;
  const DeviceVector<float> device_x(x);
  const DeviceVector<float> weight(std::vector<float>(kHidden, 1.0f));
  DeviceVector<uint16_t> out(3 * kHidden);
  RmsNorm({.dtype = GetParam(), .num_tokens = 3, .hidden_size = kHidden, .eps = 1e-5f, .weight = weight.data()},
          device_x.data(), out.data(), TestStream());
  const std::vector<uint16_t> values = out.ToHost();
  for (int64_t i = 0; i < kHidden; ++i) {
    EXPECT_EQ(values[i], 0);
    EXPECT_TRUE(std::isnan(FloatFromHalf(GetParam(), values[kHidden + i])));
    EXPECT_TRUE(std::isfinite(FloatFromHalf(GetParam(), values[2 * kHidden + i])));
  }
}

}  // namespace
}  // namespace switchyard::cuda
