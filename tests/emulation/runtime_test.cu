// The runtime: memory, streams, and what a capture records and refuses.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "kernels/cuda/launch.cuh"
#include "tests/emulation/devices.h"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

__global__ void AddTo(int* x, int n, int amount) {
  WaitForPrevious();
  if (static_cast<int>(threadIdx.x) < n) x[threadIdx.x] += amount;
}

void QueueAdd(const DeviceVector<int>& x, int amount, Stream stream) {
  Launch(AddTo, LaunchShape{.grid = dim3(1), .block = dim3(32)}, stream, x.data(), static_cast<int>(x.size()), amount);
}

class Capture : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaStreamCreateWithFlags(&side_, cudaStreamNonBlocking), cudaSuccess);
    for (cudaEvent_t* event : {&fork_, &join_}) {
      ASSERT_EQ(cudaEventCreateWithFlags(event, cudaEventDisableTiming), cudaSuccess);
    }
  }
  void TearDown() override {
    cudaStreamDestroy(stream_);
    cudaStreamDestroy(side_);
    cudaEventDestroy(fork_);
    cudaEventDestroy(join_);
    cudaGetLastError();
  }
  void Begin() { ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess); }
  cudaGraphExec_t End() {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    cudaGraphExec_t executable = nullptr;
    EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    return executable;
  }
  // What EndCapture answers after `call` happened in the capture.
  template <typename Call>
  cudaError_t EndAfter(Call call, cudaError_t expected) {
    Begin();
    EXPECT_EQ(call(), expected);
    cudaGraph_t graph = nullptr;
    const cudaError_t error = cudaStreamEndCapture(stream_, &graph);
    EXPECT_EQ(graph == nullptr, error != cudaSuccess);
    if (graph != nullptr) cudaGraphDestroy(graph);
    return error;
  }

  cudaStream_t stream_ = nullptr;
  cudaStream_t side_ = nullptr;
  cudaEvent_t fork_ = nullptr;
  cudaEvent_t join_ = nullptr;
};

TEST_F(Capture, RunsNothingUntilLaunchedAndThenWithTheSamePointers) {
  const DeviceVector<int> x(std::vector<int>{1, 2, 3});
  const DeviceVector<int> copy(3);
  const DeviceVector<int> cleared(std::vector<int>{7, 7});
  int num_calls = 0;
  int amount = 10;
  Begin();
  QueueAdd(x, amount, stream_);
  EXPECT_EQ(cudaMemcpyAsync(copy.data(), x.data(), x.bytes(), cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(cleared.data(), 0, sizeof(int), stream_), cudaSuccess);
  EXPECT_EQ(emulation::RecordHostFunction(stream_, [&] { ++num_calls; }), cudaSuccess);
  amount = 1000;  // arguments were copied
  const cudaGraphExec_t executable = End();
  EXPECT_EQ(x.ToHost(), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(num_calls, 0);

  for (int i = 0; i < 2; ++i) EXPECT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(copy.ToHost(), (std::vector<int>{21, 22, 23}));
  EXPECT_EQ(cleared.ToHost(), (std::vector<int>{0, 7}));
  EXPECT_EQ(num_calls, 2);
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
}

TEST_F(Capture, RefusesWhatWaitsOrAllocates) {
  const DeviceVector<int> x(std::vector<int>{1});
  int host = 0;
  void* memory = nullptr;
  const auto refused = cudaErrorStreamCaptureUnsupported;
  const auto invalidated = cudaErrorStreamCaptureInvalidated;
  EXPECT_EQ(EndAfter([&] { return cudaStreamSynchronize(stream_); }, refused), invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaStreamQuery(stream_); }, refused), invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaDeviceSynchronize(); }, refused), invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaMalloc(&memory, 4); }, refused), invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaFree(x.data()); }, refused), invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaMemcpy(&host, x.data(), 4, cudaMemcpyDeviceToHost); }, refused), invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaMemsetAsync(x.data(), 0, 4, nullptr); }, cudaErrorStreamCaptureImplicit),
            invalidated);
  EXPECT_EQ(EndAfter([&] { return cudaStreamSynchronize(side_); }, cudaSuccess), cudaSuccess);
  // After a refusal everything queued on the stream fails until the capture ends.
  Begin();
  cudaStreamSynchronize(stream_);
  cudaGetLastError();
  QueueAdd(x, 1, stream_);
  EXPECT_EQ(cudaGetLastError(), invalidated);
  EXPECT_EQ(TakeLaunchFailure(), invalidated);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), invalidated);
  QueueAdd(x, 1, stream_);
  EXPECT_EQ(cudaGetLastError(), invalidated);  // of EndCapture
  EXPECT_EQ(x.ToHost(), std::vector<int>{2});
}

TEST_F(Capture, SpreadsToStreamsThatWaitAndMustBeJoined) {
  const DeviceVector<int> x(std::vector<int>{1});
  Begin();
  QueueAdd(x, 1, stream_);
  EXPECT_EQ(cudaEventRecord(fork_, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(side_, fork_, 0), cudaSuccess);
  QueueAdd(x, 10, side_);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  EXPECT_EQ(cudaStreamIsCapturing(side_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  EXPECT_EQ(cudaEventRecord(join_, side_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream_, join_, 0), cudaSuccess);
  const cudaGraphExec_t executable = End();
  EXPECT_EQ(cudaStreamIsCapturing(side_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusNone);
  EXPECT_EQ(x.ToHost(), std::vector<int>{1});
  EXPECT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  EXPECT_EQ(x.ToHost(), std::vector<int>{12});
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);

  Begin();
  cudaEventRecord(fork_, stream_);
  cudaStreamWaitEvent(side_, fork_, 0);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(cudaEventSynchronize(fork_), cudaErrorCapturedEvent);
}

TEST_F(Capture, RefusesToWaitForWorkOutsideOfIt) {
  ASSERT_EQ(cudaEventRecord(fork_, side_), cudaSuccess);
  EXPECT_EQ(EndAfter([&] { return cudaStreamWaitEvent(stream_, fork_, 0); }, cudaErrorStreamCaptureIsolation),
            cudaErrorStreamCaptureInvalidated);
}

TEST(DeviceMemory, IsLimitedCountedAndNotZero) {
  size_t free_before = 0;
  size_t total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_before, &total), cudaSuccess);
  EXPECT_EQ(total, emulation::DeviceSettings{}.memory_bytes);
  int* values = nullptr;
  ASSERT_EQ(cudaMalloc(&values, 4 * sizeof(int)), cudaSuccess);
  EXPECT_EQ(values[3], -1);
  size_t free_after = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_after, &total), cudaSuccess);
  EXPECT_EQ(free_before - free_after, 4 * sizeof(int));
  void* too_much = nullptr;
  EXPECT_EQ(cudaMalloc(&too_much, free_after + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaFree(values), cudaSuccess);
}

TEST(Copies, RefuseMemoryOfTheWrongKindAndOverruns) {
  const DeviceVector<int> x(std::vector<int>{1, 2});
  int host[3] = {};
  EXPECT_EQ(cudaMemcpy(host, x.data(), 8, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(host[1], 2);
  EXPECT_EQ(cudaMemcpy(x.data(), host, 8, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host, x.data(), 12, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x.data(), x.data() + 1, 4, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(x.ToHost(), (std::vector<int>{2, 2}));
}

TEST(Devices, AreTwoWithoutPeerAccess) {
  int count = 0;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  int can_access = 1;
  EXPECT_EQ(cudaDeviceCanAccessPeer(&can_access, 0, 1), cudaSuccess);
  EXPECT_EQ(can_access, 0);
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 1), cudaSuccess);
  EXPECT_EQ(properties.multiProcessorCount, 4);
  EXPECT_STREQ(cudaGetErrorName(cudaGetLastError()), "cudaErrorInvalidDevice");
}

}  // namespace
}  // namespace switchyard::cuda
