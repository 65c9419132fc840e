#include "kernels/cuda/expert_sum.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

// One thread per eight elements of out. Grid: [rows * hidden / 8 / kThreads].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    SumExpertsKernel(int32_t num_rows, int32_t top_k, int32_t hidden, const int32_t* __restrict__ place,
                     const T* __restrict__ y, T* __restrict__ out) {
  WaitForPrevious();
  LetNextStart();
  const int32_t pieces = hidden / kVectorElements;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t row = i / pieces;
  if (row >= num_rows) return;
  const int32_t column = static_cast<int32_t>(i - row * pieces) * kVectorElements;
  float sums[kVectorElements] = {};
  for (int32_t k = 0; k < top_k; ++k) {
    const int32_t entry = place[row * top_k + k];
    if (entry < 0) continue;
    float values[kVectorElements];
    Load8(y + int64_t{entry} * hidden + column, values);
#pragma unroll
    for (int j = 0; j < kVectorElements; ++j) sums[j] += values[j];
  }
  Store8(out + row * hidden + column, sums);
}

}  // namespace

void SumExperts(const SumExpertsArgs& args, Stream stream) {
  const int64_t num_threads = args.num_rows * (args.hidden_size / kVectorElements);
  DispatchHalf(args.dtype, [&](auto half) {
    using T = decltype(half);
    Launch(SumExpertsKernel<T>,
           LaunchShape{.grid = dim3(static_cast<unsigned>((num_threads + kThreads - 1) / kThreads)),
                       .block = dim3(kThreads)},
           stream, static_cast<int32_t>(args.num_rows), static_cast<int32_t>(args.top_k),
           static_cast<int32_t>(args.hidden_size), args.place, static_cast<const T*>(args.y),
           static_cast<T*>(args.out));
  });
}

}  // namespace switchyard::cuda
