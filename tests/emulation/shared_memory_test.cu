// Shared memory: what was not written, not copied yet, or is out of bounds shows.
#include <gtest/gtest.h>

#include <thread>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/launch.cuh"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

__global__ void ReadUnwritten(uint32_t* out, bool write) {
  WaitForPrevious();
  __shared__ uint32_t fixed[4];
  uint32_t* dynamic = DynamicShared<uint32_t>();
  if (write) fixed[threadIdx.x] = dynamic[threadIdx.x] = 5;
  out[blockIdx.x * 8 + threadIdx.x] = fixed[threadIdx.x];
  out[blockIdx.x * 8 + 4 + threadIdx.x] = dynamic[threadIdx.x];
}

TEST(SharedMemory, IsPoisonedWhenABlockBegins) {
  const LaunchShape shape{.grid = dim3(3), .block = dim3(4), .shared_bytes = 16};
  const DeviceVector<uint32_t> out(24);
  Launch(ReadUnwritten, shape, TestStream(), out.data(), true);
  EXPECT_EQ(out.ToHost(), std::vector<uint32_t>(24, 5));
  Launch(ReadUnwritten, shape, TestStream(), out.data(), false);
  EXPECT_EQ(out.ToHost(), std::vector<uint32_t>(24, 0xFFFFFFFFu));
}

__device__ uint32_t ReadOwn(bool write) {
  __shared__ uint32_t own;
  if (write) own = 5;
  return own;
}

__global__ void ReadUnwrittenInFunction(uint32_t* out, bool write) {
  WaitForPrevious();
  *out = ReadOwn(write);
}

TEST(SharedMemory, OfDeviceFunctionsIsPoisonedWhenALaunchBegins) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer's build cannot tell it from other static variables";
#endif
  const DeviceVector<uint32_t> out(1);
  for (const bool write : {true, false}) {
    Launch(ReadUnwrittenInFunction, LaunchShape{.grid = dim3(1), .block = dim3(1)}, TestStream(), out.data(), write);
    EXPECT_EQ(out.ToHost()[0], write ? 5 : 0xFFFFFFFFu);
  }
}

__global__ void CheckAlignment(int* aligned) {
  WaitForPrevious();
  *aligned = reinterpret_cast<uintptr_t>(DynamicShared<float>()) % 128 == 0 ? 1 : 0;
}

TEST(SharedMemory, IsAligned) {
  const DeviceVector<int> aligned(1);
  Launch(CheckAlignment, LaunchShape{.grid = dim3(1), .block = dim3(1), .shared_bytes = 20}, TestStream(),
         aligned.data());
  EXPECT_EQ(aligned.ToHost()[0], 1);
}

// Each block's sum of a slice, by a tree in static shared memory.
__global__ void SumSlices(const int* in, int* out) {
  WaitForPrevious();
  __shared__ int partial[64];
  partial[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
  for (unsigned half = 32; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = partial[0];
}

TEST(SharedMemory, BelongsToTheLaunchOfEachOsThread) {
  const auto run = [] {
    std::vector<int> in(64 * 50);
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i);
    std::vector<int> out(50);
    for (int round = 0; round < 20; ++round) {
      Launch(SumSlices, LaunchShape{.grid = dim3(50), .block = dim3(64)}, TestStream(), in.data(), out.data());
      for (int b = 0; b < 50; ++b) ASSERT_EQ(out[b], 64 * 64 * b + 64 * 63 / 2);
    }
  };
  std::thread one(run);
  std::thread two(run);
  one.join();
  two.join();
}

// out = in through shared memory, in chunks of 16 bytes; 4 stages of a pipeline with two buffers.
template <bool kWait, bool kBarrierBeforeReuse>
__global__ void CopyThroughPipeline(const int4* in, int4* out, int num_stages) {
  WaitForPrevious();
  int4* buffers[2] = {DynamicShared<int4>(), DynamicShared<int4>() + blockDim.x};
  const unsigned other = (threadIdx.x + 1) % blockDim.x;
  CpAsync16(buffers[0] + threadIdx.x, in + threadIdx.x, true);
  CpAsyncCommit();
  for (int stage = 0; stage < num_stages; ++stage) {
    const bool more = stage + 1 < num_stages;
    CpAsync16(buffers[(stage + 1) % 2] + threadIdx.x, in + (stage + 1) * blockDim.x + threadIdx.x, more);
    CpAsyncCommit();
    if constexpr (kWait) CpAsyncWait<1>();
    __syncthreads();
    out[stage * blockDim.x + other] = buffers[stage % 2][other];
    if constexpr (kBarrierBeforeReuse) __syncthreads();
  }
}

template <bool kWait, bool kBarrierBeforeReuse>
bool PipelineCopies() {
  constexpr int kStages = 5;
  constexpr int kThreads = 64;
  std::vector<int> in(kStages * kThreads * 4);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i);
  const DeviceVector<int> device_in(in);
  const DeviceVector<int> out(in.size());
  Launch(CopyThroughPipeline<kWait, kBarrierBeforeReuse>,
         LaunchShape{.grid = dim3(1), .block = dim3(kThreads), .shared_bytes = 2 * kThreads * 16}, TestStream(),
         reinterpret_cast<const int4*>(device_in.data()), reinterpret_cast<int4*>(out.data()), kStages);
  return out.ToHost() == in;
}

TEST(AsyncCopy, ArrivesWhenItIsWaitedFor) { EXPECT_TRUE((PipelineCopies<true, true>())); }
TEST(AsyncCopy, ShowsAMissingWait) { EXPECT_FALSE((PipelineCopies<false, true>())); }
TEST(AsyncCopy, ShowsABufferThatIsReusedTooEarly) { EXPECT_FALSE((PipelineCopies<true, false>())); }

__global__ void CopyNothing(int4* out) {
  WaitForPrevious();
  int4* shared = DynamicShared<int4>();
  CpAsync16(shared, nullptr, false);
  CpAsyncCommit();
  CpAsyncWait<0>();
  *out = *shared;
}

TEST(AsyncCopy, FillsWithZerosWithoutReading) {
  const DeviceVector<int> out(4);
  Launch(CopyNothing, LaunchShape{.grid = dim3(1), .block = dim3(1), .shared_bytes = 16}, TestStream(),
         reinterpret_cast<int4*>(out.data()));
  EXPECT_EQ(out.ToHost(), std::vector<int>(4, 0));
}

TEST(Launch, KeepsAnImpossibleShapeAsAFailureWhoeverClearsTheLastError) {
  const DeviceVector<int> out(1);
  Launch(CheckAlignment, LaunchShape{.grid = dim3(1), .block = dim3(1025)}, TestStream(), out.data());
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_EQ(TakeLaunchFailure(), cudaErrorInvalidConfiguration);
  Launch(CheckAlignment, LaunchShape{.grid = dim3(1), .block = dim3(1), .shared_bytes = 100 * 1024}, TestStream(),
         out.data());
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(TakeLaunchFailure(), cudaErrorInvalidValue);
  EXPECT_EQ(TakeLaunchFailure(), cudaSuccess);
}

#ifdef __SANITIZE_ADDRESS__
__global__ void WriteBehind(int* out, int what) {
  WaitForPrevious();
  __shared__ int fixed[4];
  int* dynamic = DynamicShared<int>();
  int* places[] = {fixed + 4, dynamic + 4, out + 4};
  *places[what] = 1;
}

TEST(OutOfBoundsDeathTest, DiesInStaticDynamicAndGlobalMemory) {
  const LaunchShape shape{.grid = dim3(1), .block = dim3(1), .shared_bytes = 16};
  const DeviceVector<int> out(4);
  for (int what = 0; what < 3; ++what) {
    EXPECT_DEATH(Launch(WriteBehind, shape, TestStream(), out.data(), what), "AddressSanitizer.*overflow");
  }
}
#endif

}  // namespace
}  // namespace switchyard::cuda
