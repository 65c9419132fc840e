// How the tensors of one rank's device reach the other ranks: straight, through NCCL, or through host memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace switchyard {

struct DeviceConnectOptions {
  // Names this rank's GPU among those of all hosts, its UUID for instance: ranks with the same name share the GPU.
  std::string device_id;
  bool force_staged = false;
  absl::Duration connect_timeout = absl::Minutes(5);  // of NCCL, for all ranks to appear
  absl::Duration step_timeout = absl::Seconds(60);    // of NCCL, for what is queued in a step
  size_t max_message_bytes = 0;                       // of staging: what one call sends or receives at most
};

struct DeviceCommunicator {
  Communicator& get() const { return *communicator; }

  Communicator* communicator = nullptr;  // `owned`, or the host communicator itself
  std::unique_ptr<Communicator> owned;   // to be destroyed before the host communicator and the backend
  std::string staged_because;            // for a log line; empty where nothing is staged
};

// Collective; called by every rank on its own thread, with options that may differ in device_id only. On a CPU the
// result is `host`; on GPUs it is NCCL on all ranks, or staging on all ranks: where it is asked for, where the build
// has no NCCL, and where ranks share a GPU and NCCL is too old for that. `host` (borrowed, connected) is used by nobody
// else from then on, unless it is the result. Errors: as CreateNcclCommunicator's and CreateStagedCommunicator's.
absl::StatusOr<DeviceCommunicator> ConnectDevice(const DeviceConnectOptions& options, Communicator& host,
                                                 Backend& backend);

}  // namespace switchyard
