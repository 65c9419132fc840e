// 16-bit numbers in host memory, for the tests of CUDA kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/check.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

inline float FloatFromHalf(DType dtype, uint16_t bits) {
  CHECK(dtype == DType::kBFloat16 || dtype == DType::kFloat16);
  return dtype == DType::kBFloat16 ? FloatFromBFloat16(bits) : FloatFromFloat16(bits);
}

inline uint16_t HalfFromFloat(DType dtype, float value) {
  CHECK(dtype == DType::kBFloat16 || dtype == DType::kFloat16);
  return dtype == DType::kBFloat16 ? BFloat16FromFloat(value) : Float16FromFloat(value);
}

// The most that rounding to `dtype` moves a number of this magnitude.
inline double HalfRounding(DType dtype, double magnitude) {
  if (dtype == DType::kBFloat16) return std::abs(magnitude) * 0x1p-8;
  return std::max(std::abs(magnitude) * 0x1p-11, 0x1p-25);
}

inline std::vector<uint16_t> RandomHalves(DType dtype, int64_t count, std::mt19937& random, float deviation = 1.0f) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (uint16_t& value : values) value = HalfFromFloat(dtype, normal(random));
  return values;
}

inline std::vector<float> RandomFloats(int64_t count, std::mt19937& random, float deviation = 1.0f) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// A test that runs once per 16-bit type.
class HalfTest : public testing::TestWithParam<DType> {
 protected:
  std::mt19937 random_{20240611};

  int64_t Uniform(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
};

inline auto HalfTypes() { return testing::Values(DType::kBFloat16, DType::kFloat16); }
inline std::string HalfTypeName(const testing::TestParamInfo<DType>& info) { return Name(info.param); }

}  // namespace switchyard::cuda
