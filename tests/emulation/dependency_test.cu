// The rule that kernels/cuda/dependency.cuh has for every kernel: all of its threads wait for the one ahead of it.
#include <gtest/gtest.h>

#include "kernels/cuda/launch.cuh"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

enum class Waits { kAll, kNone, kAllButOneThread, kAllButOneBlock };

__global__ void WaitSometimes(Waits waits, int* out) {
  const bool is_last_thread = threadIdx.x == blockDim.x - 1;
  const bool is_last_block = blockIdx.x == gridDim.x - 1;
  if (waits == Waits::kNone || (waits == Waits::kAllButOneThread && is_last_block && is_last_thread) ||
      (waits == Waits::kAllButOneBlock && is_last_block)) {
    return;
  }
  WaitForPrevious();
  LetNextStart();
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

constexpr int kBlocks = 5;
constexpr int kThreads = 33;

std::vector<int> Mark(Waits waits) {
  const DeviceVector<int> out(kBlocks * kThreads);
  Launch(WaitSometimes, LaunchShape{.grid = dim3(kBlocks), .block = dim3(kThreads)}, TestStream(), waits, out.data());
  return out.ToHost();
}

TEST(WaitForPrevious, IsCalledByEveryThreadOfEveryBlock) {
  EXPECT_EQ(Mark(Waits::kAll), std::vector<int>(kBlocks * kThreads, 1));
}

TEST(WaitForPreviousDeathTest, NamesTheKernelOfWhichAThreadExitsWithout) {
  EXPECT_DEATH(Mark(Waits::kNone), "WaitSometimes.*dependency_test.cu.*exits without a call of WaitForPrevious");
  EXPECT_DEATH(Mark(Waits::kAllButOneThread),
               "WaitSometimes.*block \\(4, 0, 0\\).*thread \\(32, 0, 0\\) exits without a call of WaitForPrevious");
  EXPECT_DEATH(Mark(Waits::kAllButOneBlock),
               "WaitSometimes.*block \\(4, 0, 0\\).*exits without a call of WaitForPrevious");
}

}  // namespace
}  // namespace switchyard::cuda
