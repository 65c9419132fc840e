// A stand-in for libnccl whose ranks are threads of one process and whose device memory is host memory; and the knobs
// with which a test makes it fail. Thread-safe; everything is of the process, so tests begin with Reset().
//
// A collective is done by the rank that comes last, in rank order and with sums in float32. Where the calls of the
// ranks differ, which NCCL does not notice, the fake reports ncclInvalidUsage on all of them.
// As with NCCL, a captured collective runs at each launch of its graph, and blocks that launch until all ranks have
// come or the communicator is aborted; ncclCommDestroy and ncclCommAbort block while a graph holds a collective.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace switchyard::fake_nccl {

// When a call's work counts as queued.
enum class Queueing {
  // When it is done. The communicator is busy until then (ncclInProgress), as while NCCL connects. For streams whose
  // work is done when a call returns.
  kWhenDone,
  // At once, as a kernel that then waits for its peers: Drain waits.
  kAtOnce,
};

// No faults, version 2.28.9, kWhenDone. No communicator may exist.
void Reset();

void SetQueueing(Queueing queueing);
void SetVersion(int version_code);
// Until Reset, communicators are made but do not become ready.
void HoldInitialization();
// From now on ncclCommGetAsyncError returns `error` on this rank's communicators; ncclSuccess: what is the case again.
void InjectAsyncError(int rank, ncclResult_t error);

// Waits until all that was queued on `stream` with Queueing::kAtOnce is done, or its communicator aborted: the NCCL
// part of cudaStreamSynchronize.
void Drain(cudaStream_t stream);

// Since Reset: calls of ncclCommAbort, and of ncclCommDestroy.
int NumAborts();
int NumDestroys();
// Communicators that exist now.
int NumCommunicators();

}  // namespace switchyard::fake_nccl
