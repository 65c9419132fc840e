// One block per token. A thread keeps its part of the row in registers between the sum and the product, so that a row
// crosses the memory bus once; the weights are asked for before the kernel ahead has ended.
#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxVectors = 4;  // that a thread can keep

// T: of delta and out. kVectors: groups of eight elements per thread; group v of a thread begins at element
// 8 * (v * blockDim.x + threadIdx.x). kHasDelta: `residual` is updated from `delta`; otherwise it is only read.
template <typename T, int kVectors, bool kHasDelta>
__global__ void __launch_bounds__(kMaxThreads)
    NormKernel(const T* __restrict__ delta, float* __restrict__ residual, const float* __restrict__ weight,
               int hidden_size, float inverse_size, float eps, T* __restrict__ out) {
  __shared__ float scratch[kWarpSize];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * hidden_size;
  const int first = static_cast<int>(threadIdx.x) * kVectorElements;
  const int stride = static_cast<int>(blockDim.x) * kVectorElements;

  float values[kVectors][kVectorElements];
  float weights[kVectors][kVectorElements];
  // More than that does not fit in a thread's registers.
  if (kVectors == 1 && first < hidden_size) Load8(weight + first, weights[0]);
  WaitForPrevious();
  LetNextStart();
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int column = first + v * stride;
    if (column >= hidden_size) break;
    Load8(residual + row + column, values[v]);
    if constexpr (kHasDelta) {
      float added[kVectorElements];
      Load8(delta + row + column, added);
#pragma unroll
      for (int i = 0; i < kVectorElements; ++i) values[v][i] += added[i];
      Store8(residual + row + column, values[v]);
    }
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) squares = fmaf(values[v][i], values[v][i], squares);
  }
  const float inverse_rms = rsqrtf(BlockSum(squares, scratch) * inverse_size + eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int column = first + v * stride;
    if (column >= hidden_size) break;
    if constexpr (kVectors > 1) Load8(weight + column, weights[v]);
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) values[v][i] = values[v][i] * inverse_rms * weights[v][i];
    Store8(out + row + column, values[v]);
  }
}

template <typename T, bool kHasDelta>
void LaunchNorm(const RmsNormArgs& args, const T* delta, float* residual, T* out, Stream stream) {
  const int64_t vectors = args.hidden_size / kVectorElements;
  const int64_t warps = std::min<int64_t>((vectors + kWarpSize - 1) / kWarpSize, kMaxThreads / kWarpSize);
  const int64_t threads = warps * kWarpSize;
  const int64_t per_thread = (vectors + threads - 1) / threads;
  auto* kernel = &NormKernel<T, 1, kHasDelta>;
  if (per_thread > 1) kernel = &NormKernel<T, 2, kHasDelta>;
  if (per_thread > 2) kernel = &NormKernel<T, kMaxVectors, kHasDelta>;
  Launch(
      kernel,
      LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_tokens)), .block = dim3(static_cast<unsigned>(threads))},
      stream, delta, residual, args.weight, static_cast<int>(args.hidden_size),
      1.0f / static_cast<float>(args.hidden_size), args.eps, out);
}

void CheckArgs(const RmsNormArgs& args, const void* rows, const void* out) {
  CHECK_EQ(args.hidden_size % kVectorElements, 0);
  CHECK(args.hidden_size > 0 && args.hidden_size <= kMaxHiddenSize);
  CHECK(IsAligned16(args.weight) && IsAligned16(rows) && IsAligned16(out));
}

static_assert(kMaxHiddenSize == int64_t{kMaxThreads} * kMaxVectors * kVectorElements);

}  // namespace

void RmsNorm(const RmsNormArgs& args, const float* x, void* out, Stream stream) {
  if (args.num_tokens == 0) return;
  CheckArgs(args, x, out);
  DispatchHalf(args.dtype, [&](auto type) {
    using T = decltype(type);
    // Without a delta the kernel only reads the rows.
    LaunchNorm<T, false>(args, nullptr, const_cast<float*>(x), static_cast<T*>(out), stream);
  });
}

void AddRmsNorm(const RmsNormArgs& args, const void* delta, float* residual, void* out, Stream stream) {
  if (args.num_tokens == 0) return;
  CheckArgs(args, residual, out);
  CHECK(IsAligned16(delta));
  DispatchHalf(args.dtype, [&](auto type) {
    using T = decltype(type);
    LaunchNorm<T, true>(args, static_cast<const T*>(delta), residual, static_cast<T*>(out), stream);
  });
}

}  // namespace switchyard::cuda
