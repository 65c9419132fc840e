// Ranks over the fake NCCL, as threads: emulated GPUs, their host communicators, and the communicators under test.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <vector>

#include "kernels/cpu/reference_backend.h"
#include "parallel/communicators/nccl.h"
#include "tests/parallel/communicators/group_factory.h"

namespace switchyard {

// Host memory and one emulated stream.
class EmulatedGpu final : public ReferenceBackend {
 public:
  EmulatedGpu();
  ~EmulatedGpu() override;
  DeviceKind device() const override { return DeviceKind::kCuda; }
  void* native_stream() const override { return stream_; }
  // Waits for what the fake NCCL has queued, as a GPU's stream does.
  absl::Status Synchronize() override;

  cudaStream_t stream() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// What `body` queues, as a graph; the tests' part of Backend::Record and Replay.
class RecordedCalls {
 public:
  RecordedCalls(EmulatedGpu& gpu, const std::function<absl::Status()>& body);
  RecordedCalls(const RecordedCalls&) = delete;
  RecordedCalls& operator=(const RecordedCalls&) = delete;
  ~RecordedCalls();

  void Replay();

 private:
  EmulatedGpu& gpu_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

// Indexed by rank. Destroyed from the last member to the first, all ranks of one member at the same time.
struct NcclGroup {
  ~NcclGroup();

  std::vector<std::unique_ptr<Communicator>> hosts;
  std::vector<std::unique_ptr<EmulatedGpu>> gpus;
  std::vector<std::unique_ptr<Communicator>> ranks;  // null where creation failed
  std::vector<absl::Status> created;
};
std::unique_ptr<NcclGroup> MakeNcclGroup(int size, const NcclOptions& options,
                                         Transport host_transport = Transport::kInProcess);

}  // namespace switchyard
