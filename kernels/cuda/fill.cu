// A thread writes eight elements, from two blocks of Philox.
#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda/fill.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

// Two independent normal numbers of deviation 1 from 64 uniform bits.
// Source: Box and Muller 1958, "A note on the generation of random normal deviates".
__device__ __forceinline__ float2 NormalPair(uint32_t radius_bits, uint32_t angle_bits) {
  constexpr float kStep = 0x1p-32f;
  constexpr float kPi = 3.14159265f;
  // (bits + 1/2) / 2^32: never 0, whose logarithm is not finite.
  const float uniform = fmaf(static_cast<float>(radius_bits), kStep, 0.5f * kStep);
  const float radius = sqrtf(-2.0f * logf(uniform));
  // In [-pi, pi).
  const float angle = static_cast<float>(static_cast<int32_t>(angle_bits)) * (2.0f * kPi * kStep);
  float sine;
  float cosine;
  sincosf(angle, &sine, &cosine);
  return make_float2(radius * cosine, radius * sine);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    FillRandomKernel(T* __restrict__ data, int64_t count, uint64_t seed, float deviation) {
  WaitForPrevious();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVectorElements;
  if (first >= count) return;
  float values[kVectorElements];
#pragma unroll
  for (int i = 0; i < kVectorElements; i += 4) {
    const uint4 bits = PhiloxBlock(seed, static_cast<uint64_t>(first + i) / 4);
    const float2 low = NormalPair(bits.x, bits.y);
    const float2 high = NormalPair(bits.z, bits.w);
    values[i] = deviation * low.x;
    values[i + 1] = deviation * low.y;
    values[i + 2] = deviation * high.x;
    values[i + 3] = deviation * high.y;
  }
  if (first + kVectorElements <= count) {
    Store8(data + first, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) {
    if (first + i < count) data[first + i] = FromFloat<T>(values[i]);
  }
}

}  // namespace

void FillRandom(DType dtype, void* data, int64_t num_elements, uint64_t seed, float deviation, Stream stream) {
  if (num_elements == 0) return;
  CHECK(IsAligned16(data));
  const int64_t per_block = kThreads * kVectorElements;
  const auto blocks = static_cast<unsigned>((num_elements + per_block - 1) / per_block);
  DispatchHalf(dtype, [&](auto type) {
    using T = decltype(type);
    Launch(FillRandomKernel<T>, LaunchShape{.grid = dim3(blocks), .block = dim3(kThreads)}, stream,
           static_cast<T*>(data), num_elements, seed, deviation);
  });
}

}  // namespace switchyard::cuda
