// Barriers that are missing or divergent do not pass unseen.
#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda/launch.cuh"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 96;

// out[i] = i + 1 of the neighbour's making.
template <bool kWithBarrier>
__global__ void PassToNeighbour(int* out) {
  WaitForPrevious();
  int* shared = DynamicShared<int>();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if constexpr (kWithBarrier) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + 1) % kThreads];
}

// How many of `num_seeds` random orders give the right result.
template <bool kWithBarrier>
int NumRightResults(int num_seeds) {
  int num_right = 0;
  for (int seed = 0; seed < num_seeds; ++seed) {
    emulation::SetEmulationSeed(static_cast<uint64_t>(seed));
    const DeviceVector<int> out(kThreads);
    Launch(PassToNeighbour<kWithBarrier>,
           LaunchShape{.grid = dim3(1), .block = dim3(kThreads), .shared_bytes = kThreads * sizeof(int)}, TestStream(),
           out.data());
    const std::vector<int> values = out.ToHost();
    bool right = true;
    for (int i = 0; i < kThreads; ++i) right = right && values[i] == (i + 1) % kThreads;
    num_right += right ? 1 : 0;
  }
  return num_right;
}

TEST(BlockBarrier, MakesNeighboursSeeWhatWasWritten) { EXPECT_EQ(NumRightResults<true>(50), 50); }
TEST(BlockBarrier, ShowsWhenItIsMissing) { EXPECT_EQ(NumRightResults<false>(50), 0); }

template <bool kWithBarrier>
__global__ void PassWithinWarp(int* out) {
  WaitForPrevious();
  __shared__ int shared[32];
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if constexpr (kWithBarrier) __syncwarp();
  out[threadIdx.x] = shared[threadIdx.x ^ 1];
}

TEST(WarpBarrier, ShowsWhenItIsMissing) {
  const DeviceVector<int> with(32);
  const DeviceVector<int> without(32);
  Launch(PassWithinWarp<true>, LaunchShape{.grid = dim3(1), .block = dim3(32)}, TestStream(), with.data());
  Launch(PassWithinWarp<false>, LaunchShape{.grid = dim3(1), .block = dim3(32)}, TestStream(), without.data());
  std::vector<int> expected(32);
  for (int i = 0; i < 32; ++i) expected[i] = i ^ 1;
  EXPECT_EQ(with.ToHost(), expected);
  EXPECT_NE(without.ToHost(), expected);
}

__global__ void WriteOrder(int* next, int* order) {
  WaitForPrevious();
  order[atomicAdd(next, 1)] = static_cast<int>(blockIdx.x);
}

TEST(Blocks, RunInAnOrderThatTheSeedChooses) {
  const auto order = [](uint64_t seed) {
    emulation::SetEmulationSeed(seed);
    const DeviceVector<int> next(std::vector<int>{0});
    const DeviceVector<int> order(16);
    Launch(WriteOrder, LaunchShape{.grid = dim3(16), .block = dim3(1)}, TestStream(), next.data(), order.data());
    return order.ToHost();
  };
  EXPECT_EQ(order(7), order(7));
  EXPECT_NE(order(7), order(8));
  const std::vector<int> once = order(9);
  EXPECT_EQ(std::set<int>(once.begin(), once.end()).size(), 16u);
}

__global__ void SkipBarrier(int num_waiting) {
  WaitForPrevious();
  if (static_cast<int>(threadIdx.x) < num_waiting) __syncthreads();
}

__global__ void SplitBarrier() {
  WaitForPrevious();
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST(BlockBarrierDeathTest, ReportsThreadsThatNeverCome) {
  const LaunchShape shape{.grid = dim3(1), .block = dim3(64)};
  EXPECT_DEATH(Launch(SkipBarrier, shape, TestStream(), 40),
               "SkipBarrier.*barrier_test.cu.*block \\(0, 0, 0\\).*wait for ever\n"
               ".*threads 0 to 39: waits at __syncthreads.*barrier_test.cu:[0-9]+\n"
               ".*threads 40 to 63: exited");
}

TEST(BlockBarrierDeathTest, ReportsDifferentBarriers) {
  const LaunchShape shape{.grid = dim3(1), .block = dim3(64)};
  EXPECT_DEATH(Launch(SplitBarrier, shape, TestStream()), "SplitBarrier.*came to a __syncthreads\\(\\) other than");
}

__global__ void WaitWithout(int lane, int what) {
  WaitForPrevious();
  const bool out = static_cast<int>(threadIdx.x) == lane;
  if (what == 0 && !out) __syncwarp();                              // one lane exits
  if (what == 1) __syncwarp(out ? 0xFFFFFFFFu : 0x0000FFFFu);       // half of the lanes are not in their mask
  if (what == 2) out ? __syncwarp() : (void)__ballot_sync(~0u, 1);  // two kinds
  if (what == 3) __shfl_sync(0x0000FFFFu << (threadIdx.x & 16), 1, static_cast<int>(~threadIdx.x & 16));
}

TEST(WarpCollectiveDeathTest, ReportsMisuse) {
  const LaunchShape shape{.grid = dim3(1), .block = dim3(32)};
  EXPECT_DEATH(Launch(WaitWithout, shape, TestStream(), 5, 0), "exited");
  EXPECT_DEATH(Launch(WaitWithout, shape, TestStream(), 32, 1), "without being in its mask");
  EXPECT_DEATH(Launch(WaitWithout, shape, TestStream(), 5, 2), "wait in another collective");
  EXPECT_DEATH(Launch(WaitWithout, shape, TestStream(), 32, 3), "reads lane [0-9]+, which is not in the mask");
  const LaunchShape half_a_warp{.grid = dim3(1), .block = dim3(16)};
  EXPECT_DEATH(Launch(WaitWithout, half_a_warp, TestStream(), 32, 0), "lanes that the block lacks");
}

}  // namespace
}  // namespace switchyard::cuda
