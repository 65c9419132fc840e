// Staging, with the CPU backend as the device: the conformance test, 16-bit sums, and failures.
#include "parallel/communicators/staged.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kernels/cpu/reference_backend.h"
#include "parallel/communicators/device_ranks.h"
#include "parallel/communicators/in_process.h"
#include "tests/parallel/communicators/conformance.h"
#include "tests/parallel/communicators/group_factory.h"
#include "tests/parallel/communicators/half_sums.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

// Host memory that says it is a GPU's, and fails on demand.
class FakeGpu final : public ReferenceBackend {
 public:
  DeviceKind device() const override { return DeviceKind::kCuda; }
  absl::Status CopyToHost(ConstTensorView device, TensorView host) override {
    return broken ? fault : ReferenceBackend::CopyToHost(device, host);
  }
  absl::Status Synchronize() override { return broken ? fault : absl::OkStatus(); }
  absl::StatusOr<Buffer> AllocateStaging(size_t bytes) override {
    ++num_stagings;
    return ReferenceBackend::AllocateStaging(bytes);
  }

  const absl::Status fault = absl::InternalError("CUDA: an illegal memory access was encountered");
  bool broken = false;
  int num_stagings = 0;
};

// Every rank's body, each with a staged communicator over `transport`.
void RunStaged(Transport transport, int size, size_t max_message_bytes,
               const std::function<void(Communicator&, FakeGpu&)>& body) {
  const auto hosts = MakeGroup(transport, size, kLong);
  RunRanks(size, [&](int rank) {
    FakeGpu gpu;
    const auto communicator = CreateStagedCommunicator(*hosts[rank], gpu, max_message_bytes);
    ASSERT_TRUE(communicator.ok()) << communicator.status();
    body(**communicator, gpu);
  });
}

class Staged : public testing::TestWithParam<Transport> {};

TEST_P(Staged, PassesTheConformanceTest) {
  for (const int size : {1, 2, 3}) {
    RunStaged(GetParam(), size, 0, [](Communicator& communicator, FakeGpu&) { CheckAllCollectives(communicator); });
  }
}

TEST_P(Staged, AddsHalvesInFloat32AndRoundsOnce) {
  for (const int size : {1, 2, 5}) {
    RunStaged(GetParam(), size, 0, [](Communicator& communicator, FakeGpu&) { CheckHalfSums(communicator); });
  }
}

TEST_P(Staged, GivesAllRanksTheDeviceFaultOfOne) {
  RunStaged(GetParam(), 2, 0, [](Communicator& communicator, FakeGpu& gpu) {
    gpu.broken = communicator.rank() == 1;
    std::vector<float> data(100);
    const absl::Status expected = absl::InternalError(absl::StrCat("rank 1: ", gpu.fault.message()));
    EXPECT_EQ(communicator.AllReduceSum(TensorView::Of(std::span(data))), expected);
    EXPECT_EQ(communicator.Health(), expected);
    EXPECT_EQ(communicator.Barrier(), expected);
  });
}

INSTANTIATE_TEST_SUITE_P(Hosts, Staged, testing::Values(Transport::kInProcess, Transport::kGlooThreads),
                         [](const auto& info) { return TransportName(info.param); });

TEST(StagedBuffers, AreAllocatedOnceAndGrowForLargerMessages) {
  RunStaged(Transport::kInProcess, 2, 4096, [](Communicator& communicator, FakeGpu& gpu) {
    EXPECT_EQ(gpu.num_stagings, 2);
    std::vector<float> small(1024), large(1025);
    ASSERT_TRUE(communicator.AllReduceSum(TensorView::Of(std::span(small))).ok());
    EXPECT_EQ(gpu.num_stagings, 2);
    ASSERT_TRUE(communicator.AllReduceSum(TensorView::Of(std::span(large))).ok());
    EXPECT_EQ(gpu.num_stagings, 3);
  });
}

TEST(StagedTransport, NamesItsHost) {
  RunStaged(Transport::kInProcess, 1, 0, [](Communicator& communicator, FakeGpu&) {
    EXPECT_EQ(communicator.transport(), "staged over shared memory");
    EXPECT_FALSE(communicator.can_record());
  });
}

// This program is linked with nccl_absent.
TEST(ConnectDevice, StagesAGpuWhereTheBuildHasNoNccl) {
  const auto hosts = CreateInProcessCommunicators(2, kLong);
  RunRanks(2, [&](int rank) {
    FakeGpu gpu;
    const auto connected = ConnectDevice({.device_id = absl::StrCat("GPU-", rank)}, *hosts[rank], gpu);
    ASSERT_TRUE(connected.ok()) << connected.status();
    EXPECT_EQ(connected->get().transport(), "staged over shared memory");
    EXPECT_NE(connected->staged_because.find("no NCCL"), std::string::npos) << connected->staged_because;
    CheckAllCollectives(connected->get());
  });
}

TEST(ConnectDevice, StagesEveryRankWhereOneAsksForIt) {
  const auto hosts = CreateInProcessCommunicators(2, kLong);
  RunRanks(2, [&](int rank) {
    FakeGpu gpu;
    const auto connected =
        ConnectDevice({.device_id = absl::StrCat("GPU-", rank), .force_staged = rank == 1}, *hosts[rank], gpu);
    ASSERT_TRUE(connected.ok()) << connected.status();
    EXPECT_EQ(connected->staged_because, "it was asked for");
    CheckBarrier(connected->get());
  });
}

TEST(ConnectDevice, KeepsTheHostCommunicatorOnACpu) {
  const auto hosts = CreateInProcessCommunicators(1, kLong);
  const auto backend = CreateCpuBackend({});
  const auto connected = ConnectDevice({}, *hosts[0], *backend);
  ASSERT_TRUE(connected.ok());
  EXPECT_EQ(&connected->get(), hosts[0].get());
  EXPECT_EQ(connected->owned, nullptr);
}

}  // namespace
}  // namespace switchyard
