#include "tests/emulation/fake_nccl/fake_nccl.h"

#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "tests/emulation/devices.h"
#include "tests/emulation/fake_nccl/world.h"

using switchyard::fake_nccl::Group;
using switchyard::fake_nccl::Op;
using switchyard::fake_nccl::OpKind;
using switchyard::fake_nccl::Queueing;
using switchyard::fake_nccl::World;

// Used by one thread at a time.
struct ncclComm {
  int rank = 0;
  std::shared_ptr<World> world;
  Group in_progress;  // with kWhenDone
  // One owner beside this one for every captured group.
  std::shared_ptr<int> captured = std::make_shared<int>(0);
};

namespace switchyard::fake_nccl {
namespace {

struct Library {
  std::mutex mu;
  // Guarded by mu.
  Queueing queueing = Queueing::kWhenDone;
  int version = 22809;
  bool hold_initialization = false;
  std::map<int, ncclResult_t> errors;  // by rank
  int num_aborts = 0;
  int num_destroys = 0;
  int num_comms = 0;
  int num_ids = 0;
  std::map<std::string, std::shared_ptr<World>> worlds;  // by unique id
  std::map<cudaStream_t, std::vector<std::pair<std::shared_ptr<World>, Group>>> queued;
};

Library& library() {
  static Library library;
  return library;
}

// What a thread has called since ncclGroupStart.
struct Call {
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::shared_ptr<Op> op;
};
thread_local int group_depth = 0;
thread_local std::vector<Call> group_calls;

ncclResult_t Add(Op op, ncclComm_t comm, cudaStream_t stream) {
  if (op.peer < 0 || op.peer >= comm->world->size() || op.count == 0) return ncclInvalidArgument;
  op.rank = comm->rank;
  ncclGroupStart();
  group_calls.push_back({comm, stream, std::make_shared<Op>(op)});
  return ncclGroupEnd();
}

// All calls of a group are of one communicator and stream: Switchyard's ranks have one each.
ncclResult_t Submit(const std::vector<Call>& calls) {
  ncclComm& comm = *calls.front().comm;
  Group group;
  for (const Call& call : calls) {
    CHECK(call.comm == calls.front().comm && call.stream == calls.front().stream);
    group.push_back(call.op);
  }
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  cudaStreamIsCapturing(calls.front().stream, &capture);
  if (capture == cudaStreamCaptureStatusActive) {
    emulation::RecordHostFunction(calls.front().stream, [world = comm.world, group, held = comm.captured] {
      world->Post(group);
      world->Wait(group);
    });
    return ncclSuccess;
  }
  comm.world->Post(group);
  const std::lock_guard lock(library().mu);
  if (library().queueing == Queueing::kAtOnce) {
    library().queued[calls.front().stream].emplace_back(comm.world, group);
    return ncclSuccess;
  }
  comm.in_progress = group;
  return comm.world->Done(group) ? ncclSuccess : ncclInProgress;
}

ncclResult_t Free(ncclComm_t comm) {
  while (comm->captured.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  delete comm;
  const std::lock_guard lock(library().mu);
  --library().num_comms;
  return ncclSuccess;
}

}  // namespace

void Reset() {
  Library& lib = library();
  const std::lock_guard lock(lib.mu);
  CHECK_EQ(lib.num_comms, 0);
  lib.queueing = Queueing::kWhenDone;
  lib.version = 22809;
  lib.hold_initialization = false;
  lib.errors.clear();
  lib.num_aborts = lib.num_destroys = 0;
  lib.worlds.clear();
  lib.queued.clear();
}

void SetQueueing(Queueing queueing) {
  const std::lock_guard lock(library().mu);
  library().queueing = queueing;
}
void SetVersion(int version_code) {
  const std::lock_guard lock(library().mu);
  library().version = version_code;
}
void HoldInitialization() {
  const std::lock_guard lock(library().mu);
  library().hold_initialization = true;
}
void InjectAsyncError(int rank, ncclResult_t error) {
  const std::lock_guard lock(library().mu);
  if (error == ncclSuccess) {
    library().errors.erase(rank);
  } else {
    library().errors[rank] = error;
  }
}
int NumAborts() {
  const std::lock_guard lock(library().mu);
  return library().num_aborts;
}
int NumDestroys() {
  const std::lock_guard lock(library().mu);
  return library().num_destroys;
}
int NumCommunicators() {
  const std::lock_guard lock(library().mu);
  return library().num_comms;
}

void Drain(cudaStream_t stream) {
  std::vector<std::pair<std::shared_ptr<World>, Group>> queued;
  {
    const std::lock_guard lock(library().mu);
    queued = std::exchange(library().queued[stream], {});
  }
  for (const auto& [world, group] : queued) world->Wait(group);
}

}  // namespace switchyard::fake_nccl

// The library's functions
// -----------------------------------------------------------------------------------------------

namespace fake = switchyard::fake_nccl;

ncclResult_t ncclGetVersion(int* version) {
  const std::lock_guard lock(fake::library().mu);
  *version = fake::library().version;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInvalidUsage:
      return "invalid usage";
    default:
      return "another error";
  }
}

const char* ncclGetLastError(ncclComm_t /*comm*/) { return ""; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(fake::library().mu);
  std::memset(id->internal, 0, sizeof(id->internal));
  const std::string text = "fake " + std::to_string(fake::library().num_ids++);
  std::memcpy(id->internal, text.data(), text.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0 || rank < 0 || rank >= size) return ncclInvalidArgument;
  const std::lock_guard lock(fake::library().mu);
  std::shared_ptr<World>& world = fake::library().worlds[std::string(id.internal)];
  if (world == nullptr) world = std::make_shared<World>(size);
  if (world->size() != size) return ncclInvalidArgument;
  world->Join();
  ++fake::library().num_comms;
  *comm = new ncclComm{.rank = rank, .world = world};
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const std::lock_guard lock(fake::library().mu);
  const auto injected = fake::library().errors.find(comm->rank);
  if (injected != fake::library().errors.end()) {
    *error = injected->second;
  } else if (comm->world->mismatched()) {
    *error = ncclInvalidUsage;
  } else if (fake::library().hold_initialization || !comm->world->complete() || !comm->world->Done(comm->in_progress)) {
    *error = ncclInProgress;
  } else {
    *error = ncclSuccess;
  }
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t /*comm*/) { return ncclInProgress; }

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  {
    const std::lock_guard lock(fake::library().mu);
    ++fake::library().num_destroys;
  }
  return fake::Free(comm);
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  {
    const std::lock_guard lock(fake::library().mu);
    ++fake::library().num_aborts;
  }
  comm->world->Abort(comm->rank);
  return fake::Free(comm);
}

ncclResult_t ncclGroupStart() {
  ++fake::group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (--fake::group_depth > 0) return ncclSuccess;
  const std::vector<fake::Call> calls = std::exchange(fake::group_calls, {});
  return calls.empty() ? ncclSuccess : fake::Submit(calls);
}

ncclResult_t ncclBroadcast(const void* send, void* recv, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return fake::Add({.kind = OpKind::kBroadcast, .send = send, .recv = recv, .count = count, .type = type, .peer = root},
                   comm, stream);
}

ncclResult_t ncclAllReduce(const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t /*op*/,
                           ncclComm_t comm, cudaStream_t stream) {
  return fake::Add({.kind = OpKind::kAllReduce, .send = send, .recv = recv, .count = count, .type = type}, comm,
                   stream);
}

ncclResult_t ncclReduceScatter(const void* send, void* recv, size_t recv_count, ncclDataType_t type, ncclRedOp_t /*op*/,
                               ncclComm_t comm, cudaStream_t stream) {
  return fake::Add({.kind = OpKind::kReduceScatter, .send = send, .recv = recv, .count = recv_count, .type = type},
                   comm, stream);
}

ncclResult_t ncclAllGather(const void* send, void* recv, size_t send_count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return fake::Add({.kind = OpKind::kAllGather, .send = send, .recv = recv, .count = send_count, .type = type}, comm,
                   stream);
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return fake::Add({.kind = OpKind::kSend, .send = send, .count = count, .type = type, .peer = peer}, comm, stream);
}

ncclResult_t ncclRecv(void* recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return fake::Add({.kind = OpKind::kRecv, .recv = recv, .count = count, .type = type, .peer = peer}, comm, stream);
}
