#include "kernels/cuda/dependency.cuh"
#include "kernels/cuda/expert_sum.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

constexpr int kAhead = 4;  // experts whose rows a thread has under way together

// One thread per eight elements of out. Grid: (rows, hidden / 8 / kThreads). Four blocks on a multiprocessor leave the
// compiler the registers to ask for kAhead rows at once.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    SumExpertsKernel(int32_t top_k, int32_t hidden, const int32_t* place, const T* y, T* out) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = blockIdx.x;
  const auto column = static_cast<int32_t>(blockIdx.y * kThreads + threadIdx.x) * kVectorElements;
  if (column >= hidden) return;
  float sums[kVectorElements] = {};
  for (int32_t first = 0; first < top_k; first += kAhead) {
    int32_t entries[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) entries[i] = first + i < top_k ? place[row * top_k + first + i] : -1;
    uint4 packed[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      packed[i] = make_uint4(0, 0, 0, 0);
      if (entries[i] >= 0) packed[i] = *reinterpret_cast<const uint4*>(y + int64_t{entries[i]} * hidden + column);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      float values[kVectorElements];
      Unpack8<T>(packed[i], values);
#pragma unroll
      for (int j = 0; j < kVectorElements; ++j) sums[j] += values[j];
    }
  }
  Store8(out + row * hidden + column, sums);
}

}  // namespace

void SumExperts(const SumExpertsArgs& args, Stream stream) {
  const int64_t threads_of_row = args.hidden_size / kVectorElements;
  DispatchHalf(args.dtype, [&](auto half) {
    using T = decltype(half);
    Launch(SumExpertsKernel<T>,
           LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_rows),
                                    static_cast<unsigned>((threads_of_row + kThreads - 1) / kThreads)),
                       .block = dim3(kThreads)},
           stream, static_cast<int32_t>(args.top_k), static_cast<int32_t>(args.hidden_size), args.place,
           static_cast<const T*>(args.y), static_cast<T*>(args.out));
  });
}

}  // namespace switchyard::cuda
