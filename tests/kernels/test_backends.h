// Backends under test and the operands they are given. One body runs over every CPU backend, thread count and
// instruction set of this machine; what it expects is computed in double, independently of all of them.
#pragma once

#include <cmath>
#include <limits>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "kernels/backend.h"
#include "kernels/cpu/float_convert.h"

namespace switchyard {

struct BackendCase {
  std::string name;
  CpuBackendOptions options;
  int64_t target = 0;  // Highway's; 0: the best
};

inline void PrintTo(const BackendCase& backend, std::ostream* out) { *out << backend.name; }

inline std::vector<BackendCase> AllBackendCases() {
  std::vector<BackendCase> cases = {{"Reference", {.num_threads = 1, .reference = true}},
                                    {"Fast1Thread", {.num_threads = 1}},
                                    {"Fast3Threads", {.num_threads = 3}}};
  for (const int64_t target : {HWY_SCALAR, HWY_SSE4, HWY_AVX2, HWY_AVX3}) {
    if (target != HWY_SCALAR && (hwy::SupportedTargets() & target) == 0) continue;
    cases.push_back({std::string("Fast2Threads") + hwy::TargetName(target), {.num_threads = 2}, target});
  }
  return cases;
}

class BackendTest : public testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override {
    UseTarget(GetParam().target);
    backend_ = CreateCpuBackend(GetParam().options);
  }
  void TearDown() override { UseTarget(0); }

  static void UseTarget(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

  std::unique_ptr<Backend> backend_;
  std::mt19937 random_{20240611};

  std::vector<float> Normal(int64_t count, float deviation = 1.0f) {
    std::normal_distribution<float> normal(0.0f, deviation);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }
  int64_t Uniform(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
};

#define INSTANTIATE_OVER_BACKENDS(suite)                                     \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, testing::ValuesIn(AllBackendCases()), \
                           [](const auto& info) { return info.param.name; })

constexpr double kEpsilon = std::numeric_limits<float>::epsilon() / 2;  // one rounding

// What rounding may do to a float32 sum of `count` products of vectors with these norms: each of the sum's roundings is
// independent, so they add like a random walk (Higham and Mary 2019), not like the worst case.
inline double DotTolerance(int64_t count, double norm_a, double norm_b) {
  return kEpsilon * (4 + 2 * std::sqrt(static_cast<double>(count))) * norm_a * norm_b;
}

inline double Norm(const double* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += values[i] * values[i];
  return std::sqrt(sum);
}

// A weight matrix and its exact values.
struct TestMatrix {
  std::unique_ptr<Matrix> matrix;
  std::vector<double> values;  // [out, in]

  const double* Row(int64_t row) const { return values.data() + row * matrix->spec().in_features; }
};

// Draws bit patterns of `dtype` near `deviation` and fills `matrix` with them in two blocks of rows.
std::vector<double> FillRandom(Matrix& matrix, std::mt19937& random, float deviation);
TestMatrix RandomMatrix(Backend& backend, const MatrixSpec& spec, std::mt19937& random, float deviation = 1.0f);

inline TensorView View(std::vector<float>& values, Shape shape) {
  return TensorView::Of(std::span<float>(values), shape);
}
inline ConstTensorView View(const std::vector<float>& values, Shape shape) {
  return ConstTensorView::Of(std::span<const float>(values), shape);
}
inline ConstTensorView View(const std::vector<int32_t>& values, Shape shape) {
  return ConstTensorView::Of(std::span<const int32_t>(values), shape);
}
inline TensorView View(std::vector<int32_t>& values, Shape shape) {
  return TensorView::Of(std::span<int32_t>(values), shape);
}

}  // namespace switchyard
