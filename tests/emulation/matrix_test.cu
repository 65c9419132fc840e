// Conversions, mma and ldmatrix against plain arithmetic.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/launch.cuh"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

// The number that 16 bits stand for, from the definition of the format.
template <typename T>
double ValueOf(uint16_t bits) {
  constexpr int kMantissa = std::is_same_v<T, BFloat16> ? 7 : 10;
  constexpr int kBias = std::is_same_v<T, BFloat16> ? 127 : 15;
  const int exponent = (bits & 0x7FFF) >> kMantissa;
  const int mantissa = bits & ((1 << kMantissa) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 2 * kBias + 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  const int implicit = exponent == 0 ? 0 : 1 << kMantissa;
  return sign * std::ldexp(mantissa + implicit, std::max(exponent, 1) - kBias - kMantissa);
}

template <typename T>
class Half : public testing::Test {};
using HalfTypes = testing::Types<BFloat16, Float16>;
TYPED_TEST_SUITE(Half, HalfTypes);

TYPED_TEST(Half, ConvertsEveryNumberToFloatExactly) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double expected = ValueOf<TypeParam>(static_cast<uint16_t>(bits));
    const float lo = Unpack2<TypeParam>(bits | 0x12340000u).x;
    const float hi = Unpack2<TypeParam>(bits << 16 | 0x1234u).y;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(lo) && std::isnan(hi));
    } else {
      EXPECT_EQ(lo, expected);
      EXPECT_EQ(hi, expected);
    }
  }
}

TYPED_TEST(Half, RoundsToNearestTiesToEven) {
  const uint16_t infinity = std::is_same_v<TypeParam, BFloat16> ? 0x7F80 : 0x7C00;
  for (uint16_t bits = 0; bits + 1 < infinity; ++bits) {
    const double low = ValueOf<TypeParam>(bits);
    const double high = ValueOf<TypeParam>(bits + 1);
    const float middle = static_cast<float>((low + high) / 2);
    const uint16_t even = bits % 2 == 0 ? bits : bits + 1;
    const uint16_t sign = 0x8000;
    ASSERT_EQ(FromFloat<TypeParam>(static_cast<float>(low)).bits, bits);
    ASSERT_EQ(FromFloat<TypeParam>(middle).bits, even);
    ASSERT_EQ(FromFloat<TypeParam>(std::nextafter(middle, 0.0f)).bits, bits);
    ASSERT_EQ(FromFloat<TypeParam>(-std::nextafter(middle, std::numeric_limits<float>::infinity())).bits,
              sign | (bits + 1));
  }
  EXPECT_EQ(FromFloat<TypeParam>(std::numeric_limits<float>::max()).bits, infinity);
  EXPECT_EQ(FromFloat<TypeParam>(-std::numeric_limits<float>::infinity()).bits, 0x8000 | infinity);
  EXPECT_TRUE(std::isnan(ToFloat(FromFloat<TypeParam>(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(Pack2<TypeParam>(1.0f, 2.0f), FromFloat<TypeParam>(1.0f).bits | FromFloat<TypeParam>(2.0f).bits << 16);
}

// d [16, 8] += a [16, 16] b [8, 16]^T by one warp, fragments read element by element.
template <typename T>
__global__ void MultiplyFromGlobal(const T* a, const T* b, float* d) {
  WaitForPrevious();
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const auto pair = [](const T* from) { return from[0].bits | static_cast<uint32_t>(from[1].bits) << 16; };
  const uint32_t fa[4] = {pair(a + g * 16 + 2 * t), pair(a + (g + 8) * 16 + 2 * t), pair(a + g * 16 + 2 * t + 8),
                          pair(a + (g + 8) * 16 + 2 * t + 8)};
  const uint32_t fb[2] = {pair(b + g * 16 + 2 * t), pair(b + g * 16 + 2 * t + 8)};
  float* places[4] = {d + g * 8 + 2 * t, d + g * 8 + 2 * t + 1, d + (g + 8) * 8 + 2 * t, d + (g + 8) * 8 + 2 * t + 1};
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = *places[i];
  MmaM16N8K16<T>(fd, fa, fb);
  for (int i = 0; i < 4; ++i) *places[i] = fd[i];
}

// The same through shared memory; b is stored [16, 8] and transposed on the way.
template <typename T>
__global__ void MultiplyFromShared(const T* a, const T* b_transposed, float* d, bool wide) {
  WaitForPrevious();
  __shared__ __align__(16) T shared_a[16][16];
  __shared__ __align__(16) T shared_b[16][8];
  const int lane = static_cast<int>(threadIdx.x);
  CpAsync16(&shared_a[lane / 2][lane % 2 * 8], a + lane * 8, true);
  if (lane < 16) CpAsync16(&shared_b[lane][0], b_transposed + lane * 8, true);
  CpAsyncCommit();
  CpAsyncWait<0>();
  __syncthreads();
  uint32_t fa[4];
  uint32_t fb[2];
  if (wide) {
    LdMatrixX4(fa, &shared_a[lane % 16][lane / 16 * 8]);
    LdMatrixX2Trans(fb, &shared_b[lane % 16][0]);
  } else {
    uint32_t left[2];
    uint32_t right[2];
    LdMatrixX2(left, &shared_a[lane % 16][0]);
    LdMatrixX2(right, &shared_a[lane % 16][8]);
    fa[0] = left[0], fa[1] = left[1], fa[2] = right[0], fa[3] = right[1];
    uint32_t twice[4];
    LdMatrixX4Trans(twice, &shared_b[lane % 16][0]);
    fb[0] = twice[2], fb[1] = twice[3];
  }
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2];
  MmaM16N8K16<T>(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = fd[i];
}

TYPED_TEST(Half, MatrixProductsEqualLoops) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  const LaunchShape shape{.grid = dim3(1), .block = dim3(32)};
  for (int round = 0; round < 20; ++round) {
    std::vector<TypeParam> a(16 * 16), b(8 * 16), b_transposed(16 * 8);
    std::vector<float> d(16 * 8);
    for (TypeParam& value : a) value = FromFloat<TypeParam>(normal(random));
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < 16; ++k) b[n * 16 + k] = b_transposed[k * 8 + n] = FromFloat<TypeParam>(normal(random));
    }
    for (float& value : d) value = normal(random);
    const DeviceVector<TypeParam> device_a(a), device_b(b), device_b_transposed(b_transposed);
    const DeviceVector<float> from_global(d), from_shared(d), from_narrow(d);
    Launch(MultiplyFromGlobal<TypeParam>, shape, TestStream(), device_a.data(), device_b.data(), from_global.data());
    Launch(MultiplyFromShared<TypeParam>, shape, TestStream(), device_a.data(), device_b_transposed.data(),
           from_shared.data(), true);
    Launch(MultiplyFromShared<TypeParam>, shape, TestStream(), device_a.data(), device_b_transposed.data(),
           from_narrow.data(), false);
    EXPECT_EQ(from_shared.ToHost(), from_global.ToHost());
    EXPECT_EQ(from_narrow.ToHost(), from_global.ToHost());
    const std::vector<float> got = from_global.ToHost();
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 8; ++j) {
        double sum = d[i * 8 + j];
        double magnitude = std::abs(sum);
        for (int k = 0; k < 16; ++k) {
          const double product = ValueOf<TypeParam>(a[i * 16 + k].bits) * ValueOf<TypeParam>(b[j * 16 + k].bits);
          sum += product;
          magnitude += std::abs(product);
        }
        // Products are exact in float32; 16 additions of half an ulp each.
        EXPECT_NEAR(got[i * 8 + j], sum, 16 * 0x1p-24 * magnitude);
      }
    }
  }
}

__global__ void LoadMisaligned() {
  WaitForPrevious();
  __shared__ __align__(16) uint16_t shared[32 * 8 + 8];
  uint32_t r[4];
  LdMatrixX4(r, shared + threadIdx.x * 8 + (threadIdx.x == 3 ? 1 : 0));
}

TEST(LdMatrixDeathTest, ReportsMisalignedRows) {
  EXPECT_DEATH(Launch(LoadMisaligned, LaunchShape{.grid = dim3(1), .block = dim3(32)}, TestStream()),
               "ldmatrix, which is not aligned to 16 bytes");
}

}  // namespace
}  // namespace switchyard::cuda
