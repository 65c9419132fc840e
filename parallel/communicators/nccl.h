// Ranks as GPUs, exchanging through NCCL.
//
// Collectives are queued on the backend's stream and can be recorded (CUDA graphs). NCCL closes nothing and names no
// rank when a peer is gone: its kernels wait for ever. Therefore:
//  - a watching thread per communicator looks, every 20 ms, for NCCL's own errors, for the health of `host` (a
//    communicator of the CPU among the same ranks, which does name the rank that is lost or that aborted), and for the
//    time limit;
//  - a failure is told to all ranks through `host`; then the watching thread, and nobody else, calls ncclCommAbort, so
//    that the device stops waiting and a thread in Backend::Synchronize goes on;
//  - NCCL's calls never block (config.blocking = 0), so that the two threads can take turns with it.
// NCCL does not compare the ranks' calls: where sizes or row counts differ, data are wrong or the time limit ends it.
// Recordings made of this communicator's collectives must be destroyed before it, and not replayed once Health() is a
// failure.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace switchyard {

struct NcclOptions {
  absl::Duration connect_timeout = absl::Minutes(5);  // from the call of CreateNcclCommunicator
  absl::Duration step_timeout = absl::Seconds(60);    // from BeginStep; of a Barrier outside of steps
  // Some ranks have the same GPU. NCCL 2.30 allows it if NCCL_MULTI_RANK_GPU_ENABLE=1 was in the environment before
  // the first communicator was made, which is the caller's part.
  bool shares_device = false;
};

// Blocks until all ranks of `host` have called it, and have made connections by one collective of each kind. To be
// called on the rank's thread with the backend's device current. `host` (borrowed) is used by this communicator alone
// from then on; `backend` (borrowed) is on a GPU.
// On every rank alike, with `host` still usable: UNIMPLEMENTED where the build has no NCCL; FAILED_PRECONDITION where
// its library is too old for shares_device. Any other failure is one of `host` too.
absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const NcclOptions& options, Communicator& host,
                                                                     Backend& backend);

// Of the library that is loaded: "2.28.9"; "none" in a build without NCCL.
std::string NcclVersion();

}  // namespace switchyard
