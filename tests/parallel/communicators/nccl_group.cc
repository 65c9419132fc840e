#include "tests/parallel/communicators/nccl_group.h"

#include <gtest/gtest.h>

#include "tests/emulation/fake_nccl/fake_nccl.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {

EmulatedGpu::EmulatedGpu() { CHECK(cudaStreamCreate(&stream_) == cudaSuccess); }

EmulatedGpu::~EmulatedGpu() { cudaStreamDestroy(stream_); }

absl::Status EmulatedGpu::Synchronize() {
  fake_nccl::Drain(stream_);
  const cudaError_t error = cudaStreamSynchronize(stream_);
  return error == cudaSuccess ? absl::OkStatus() : absl::InternalError(cudaGetErrorString(error));
}

RecordedCalls::RecordedCalls(EmulatedGpu& gpu, const std::function<absl::Status()>& body) : gpu_(gpu) {
  CHECK(cudaStreamBeginCapture(gpu.stream(), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  const absl::Status status = body();
  EXPECT_TRUE(status.ok()) << status;
  CHECK(cudaStreamEndCapture(gpu.stream(), &graph_) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&executable_, graph_, 0) == cudaSuccess);
}

RecordedCalls::~RecordedCalls() {
  cudaGraphExecDestroy(executable_);
  cudaGraphDestroy(graph_);
}

void RecordedCalls::Replay() { EXPECT_EQ(cudaGraphLaunch(executable_, gpu_.stream()), cudaSuccess); }

NcclGroup::~NcclGroup() {
  RunRanks(static_cast<int>(ranks.size()), [&](int rank) { ranks[rank] = nullptr; });
}

std::unique_ptr<NcclGroup> MakeNcclGroup(int size, const NcclOptions& options, Transport host_transport) {
  auto group = std::make_unique<NcclGroup>();
  group->hosts = MakeGroup(host_transport, size, absl::Seconds(60));
  group->gpus.resize(size);
  group->ranks.resize(size);
  group->created.resize(size);
  RunRanks(size, [&](int rank) {
    group->gpus[rank] = std::make_unique<EmulatedGpu>();
    auto created = CreateNcclCommunicator(options, *group->hosts[rank], *group->gpus[rank]);
    group->created[rank] = created.status();
    if (created.ok()) group->ranks[rank] = *std::move(created);
  });
  return group;
}

}  // namespace switchyard
