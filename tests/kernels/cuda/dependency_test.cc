// Kernels of a stream, launched one behind the other and recorded, see what the ones ahead of them wrote and leave them
// what they read: with copies in between, and where a side stream is forked off and joined. What runs in emulation is
// in order anyway; on a GPU kernels overlap (kernels/cuda/dependency.cuh).
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <vector>

#include "kernels/cuda/programmatic_launches.h"
#include "kernels/cuda/rows.h"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

constexpr int64_t kRows = 128;
constexpr int64_t kColumns = 512;
constexpr int64_t kElements = kRows * kColumns;
constexpr int kRounds = 8;

std::vector<int32_t> ReversedRows() {
  std::vector<int32_t> index(kRows);
  std::iota(index.rbegin(), index.rend(), 0);
  return index;
}

class KernelOrder : public ::testing::TestWithParam<bool> {
 protected:
  KernelOrder() {
    SetProgrammaticLaunches(GetParam());
    CheckCuda(cudaStreamCreateWithFlags(&side_, cudaStreamNonBlocking));
    for (cudaEvent_t* event : {&fork_, &join_}) CheckCuda(cudaEventCreateWithFlags(event, cudaEventDisableTiming));
  }
  ~KernelOrder() override {
    SetProgrammaticLaunches(true);
    for (cudaEvent_t event : {fork_, join_}) (void)cudaEventDestroy(event);
    (void)cudaStreamDestroy(side_);
  }

  // to = from, last row first: other blocks write a row than read it next.
  void Reverse(const DeviceVector<float>& from, const DeviceVector<float>& to) const {
    GatherRows(from.data(), reversed_.data(), kRows, kColumns * sizeof(float), to.data(), TestStream());
  }
  void AddOnes(const DeviceVector<float>& to, Stream stream) const {
    Add(DType::kFloat32, ones_.data(), to.data(), kElements, stream);
  }
  static void Copy(const DeviceVector<float>& from, const DeviceVector<float>& to) {
    CheckCuda(cudaMemcpyAsync(to.data(), from.data(), from.bytes(), cudaMemcpyDeviceToDevice, TestStream()));
  }

  // x += 1, again and again, by way of `other_` and back.
  void QueueKernels() const {
    for (int i = 0; i < kRounds; ++i) {
      Reverse(x_, other_);
      AddOnes(other_, TestStream());
      Reverse(other_, x_);
    }
  }
  // The same, with a copy behind a kernel, a kernel behind a copy, and a kernel behind a memset.
  void QueueCopies() const {
    for (int i = 0; i < kRounds; ++i) {
      AddOnes(x_, TestStream());
      Copy(x_, other_);
      CheckCuda(cudaMemsetAsync(x_.data(), 0, x_.bytes(), TestStream()));
      Add(DType::kFloat32, other_.data(), x_.data(), kElements, TestStream());
    }
  }
  // The same: the addition is done on the side stream.
  void QueueForks() const {
    for (int i = 0; i < kRounds; ++i) {
      Reverse(x_, other_);
      CheckCuda(cudaEventRecord(fork_, TestStream()));
      CheckCuda(cudaStreamWaitEvent(side_, fork_, 0));
      AddOnes(other_, side_);
      CheckCuda(cudaEventRecord(join_, side_));
      Reverse(x_, unused_);  // beside the side stream's kernel
      CheckCuda(cudaStreamWaitEvent(TestStream(), join_, 0));
      Reverse(other_, x_);  // behind two kernels
    }
  }

  void ExpectSums(const std::function<void()>& queue) const {
    queue();
    EXPECT_EQ(x_.ToHost(), std::vector<float>(kElements, kRounds));

    CheckCuda(cudaStreamBeginCapture(TestStream(), cudaStreamCaptureModeThreadLocal));
    queue();
    cudaGraph_t graph = nullptr;
    CheckCuda(cudaStreamEndCapture(TestStream(), &graph));
    cudaGraphExec_t executable = nullptr;
    CheckCuda(cudaGraphInstantiate(&executable, graph, 0));
    CheckCuda(cudaGraphDestroy(graph));
    for (int i = 0; i < 2; ++i) CheckCuda(cudaGraphLaunch(executable, TestStream()));
    queue();  // right behind a graph, and a graph right behind it
    CheckCuda(cudaGraphLaunch(executable, TestStream()));
    EXPECT_EQ(x_.ToHost(), std::vector<float>(kElements, 5 * kRounds));
    CheckCuda(cudaGraphExecDestroy(executable));
  }

  const DeviceVector<int32_t> reversed_{ReversedRows()};
  const DeviceVector<float> ones_{std::vector<float>(kElements, 1.0f)};
  const DeviceVector<float> x_{std::vector<float>(kElements, 0.0f)};
  const DeviceVector<float> other_{kElements};
  const DeviceVector<float> unused_{kElements};
  cudaStream_t side_ = nullptr;
  cudaEvent_t fork_ = nullptr;
  cudaEvent_t join_ = nullptr;
};

TEST_P(KernelOrder, HoldsBehindKernels) {
  ExpectSums([this] { QueueKernels(); });
}

TEST_P(KernelOrder, HoldsBehindCopies) {
  ExpectSums([this] { QueueCopies(); });
}

TEST_P(KernelOrder, HoldsBehindEvents) {
  ExpectSums([this] { QueueForks(); });
}

INSTANTIATE_TEST_SUITE_P(ProgrammaticLaunches, KernelOrder, ::testing::Values(true, false),
                         [](const auto& param) { return param.param ? "On" : "Off"; });

}  // namespace
}  // namespace switchyard::cuda
