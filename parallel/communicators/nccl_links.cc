#include "parallel/communicators/nccl_links.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kernels/check.h"
#include "parallel/communicators/call.h"

namespace switchyard {
namespace {

static_assert(sizeof(NcclId) == NCCL_UNIQUE_ID_BYTES);

// How long `host` may take to say who was lost after NCCL has noticed that somebody was.
constexpr absl::Duration kBlamePeriod = absl::Milliseconds(250);
constexpr absl::Duration kFinalizePeriod = absl::Seconds(2);
// While NCCL is busy its state is asked for again at once so many times, then after pauses.
constexpr int kEagerPolls = 200;
constexpr absl::Duration kPollPause = absl::Microseconds(20);

bool IsError(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

ncclDataType_t SumType(DType dtype) {
  CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16);
  if (dtype == DType::kFloat32) return ncclFloat32;
  return dtype == DType::kBFloat16 ? ncclBfloat16 : ncclFloat16;
}

class LibraryLinks final : public NcclLinks {
 public:
  LibraryLinks(int device, cudaStream_t stream, Communicator& host)
      : NcclLinks(host), size_(host.size()), device_(device), stream_(stream) {}

  absl::Status Initialize(const NcclId& id) override;
  absl::Status AsyncError() override;

  absl::Status Broadcast(TensorView data, int root) override;
  absl::Status AllReduceSum(const char* name, TensorView data) override;
  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override;
  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override;
  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override;

 private:
  // Queues what `calls(comm)` calls as one group, and returns when NCCL has put it on the stream.
  template <typename Calls>
  absl::Status Queue(const char* name, Calls calls);
  absl::Status Await(const char* name, ncclResult_t result);
  absl::Status ErrorOf(const std::string& what, ncclResult_t result);
  void OnBegin() override { cudaSetDevice(device_); }
  void OnEnd(bool healthy) override;
  bool Finalize(ncclComm_t comm);

  const int size_;
  const int device_;
  const cudaStream_t stream_;

  // Held for calls to NCCL, which do not block. Who takes comm_ away may call without it.
  std::mutex nccl_mu_;
  ncclComm_t comm_ = nullptr;  // guarded by nccl_mu_; null before Initialize and after the end
};

absl::Status LibraryLinks::Initialize(const NcclId& id) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclUniqueId unique = {};
  std::copy(id.begin(), id.end(), unique.internal);
  NameCall("initialisation");
  ncclResult_t result = ncclSuccess;
  {
    const std::lock_guard lock(nccl_mu_);
    result = ncclCommInitRankConfig(&comm_, size_, unique, rank_, &config);
  }
  return Await("initialisation", result);
}

template <typename Calls>
absl::Status LibraryLinks::Queue(const char* name, Calls calls) {
  const absl::Status failed = failure();
  if (!failed.ok()) return failed;
  NameCall(name);
  ncclResult_t result = ncclSuccess;
  {
    const std::lock_guard lock(nccl_mu_);
    if (comm_ == nullptr) return failure();
    result = ncclGroupStart();
    if (!IsError(result)) {
      const ncclResult_t called = calls(comm_);
      const ncclResult_t ended = ncclGroupEnd();
      result = IsError(called) ? called : ended;
    }
  }
  return Await(name, result);
}

// The stream's next operation must not overtake NCCL's, so this waits until NCCL's is queued.
absl::Status LibraryLinks::Await(const char* name, ncclResult_t result) {
  for (int poll = 0; result == ncclInProgress; ++poll) {
    if (poll < kEagerPolls) {
      std::this_thread::yield();
    } else {
      absl::SleepFor(kPollPause);
    }
    const absl::Status failed = failure();
    if (!failed.ok()) return failed;
    const std::lock_guard lock(nccl_mu_);
    if (comm_ == nullptr) return failure();
    ncclResult_t state = ncclSuccess;
    result = ncclCommGetAsyncError(comm_, &state);
    if (!IsError(result)) result = state;
  }
  return IsError(result) ? Fail(ErrorOf(name, result)) : absl::OkStatus();
}

absl::Status LibraryLinks::AsyncError() {
  ncclResult_t state = ncclSuccess;
  {
    const std::lock_guard lock(nccl_mu_);
    if (comm_ == nullptr) return absl::OkStatus();
    const ncclResult_t result = ncclCommGetAsyncError(comm_, &state);
    if (IsError(result)) state = result;
  }
  return IsError(state) ? ErrorOf("a collective", state) : absl::OkStatus();
}

// NCCL knows that a peer is gone, `host` knows which.
absl::Status LibraryLinks::ErrorOf(const std::string& what, ncclResult_t result) {
  const bool peer_is_suspect = result == ncclRemoteError || result == ncclSystemError;
  std::string details;
  {
    const std::lock_guard lock(nccl_mu_);
    if (comm_ != nullptr) details = ncclGetLastError(comm_);
  }
  for (const absl::Time until = absl::Now() + kBlamePeriod; peer_is_suspect && absl::Now() < until;) {
    const absl::Status health = host_.Health();
    if (!health.ok()) return health;
    absl::SleepFor(absl::Milliseconds(5));
  }
  const std::string text = absl::StrCat("rank ", rank_, ": NCCL, ", what, ": ", ncclGetErrorString(result),
                                        details.empty() ? "" : "; ", details);
  return peer_is_suspect ? absl::UnavailableError(text) : absl::InternalError(text);
}

// Calls that may block: until the kernels have left, and until recordings of collectives are destroyed.
void LibraryLinks::OnEnd(bool healthy) {
  ncclComm_t comm = nullptr;
  {
    const std::lock_guard lock(nccl_mu_);
    comm = std::exchange(comm_, nullptr);
  }
  if (comm == nullptr) return;
  const bool finalized = healthy && Finalize(comm);
  LeaveHost();  // Stop gives up where the next call hangs
  if (finalized) {
    ncclCommDestroy(comm);
  } else {
    ncclCommAbort(comm);
  }
}

bool LibraryLinks::Finalize(ncclComm_t comm) {
  const absl::Time until = absl::Now() + kFinalizePeriod;
  ncclResult_t result = ncclCommFinalize(comm);
  while (result == ncclInProgress) {
    if (absl::Now() > until || !host_.Health().ok()) return false;
    absl::SleepFor(absl::Milliseconds(1));
    ncclResult_t state = ncclSuccess;
    result = ncclCommGetAsyncError(comm, &state);
    if (!IsError(result)) result = state;
  }
  return result == ncclSuccess;
}

absl::Status LibraryLinks::Broadcast(TensorView data, int root) {
  CHECK(root >= 0 && root < size_);
  if (data.bytes() == 0) return failure();
  return Queue("broadcast", [&](ncclComm_t comm) {
    return ncclBroadcast(data.data(), data.data(), data.bytes(), ncclUint8, root, comm, stream_);
  });
}

absl::Status LibraryLinks::AllReduceSum(const char* name, TensorView data) {
  const ncclDataType_t type = SumType(data.dtype());
  if (data.bytes() == 0) return failure();
  return Queue(name, [&](ncclComm_t comm) {
    return ncclAllReduce(data.data(), data.data(), data.num_elements(), type, ncclSum, comm, stream_);
  });
}

absl::Status LibraryLinks::ReduceScatterSum(ConstTensorView send, TensorView recv) {
  const ncclDataType_t type = SumType(recv.dtype());
  CHECK(send.dtype() == recv.dtype());
  CHECK_EQ(send.num_elements(), size_ * recv.num_elements());
  if (recv.bytes() == 0) return failure();
  return Queue("reduce_scatter", [&](ncclComm_t comm) {
    return ncclReduceScatter(send.data(), recv.data(), recv.num_elements(), type, ncclSum, comm, stream_);
  });
}

absl::Status LibraryLinks::AllGatherGroup(std::span<const Transfer> transfers) {
  const CallSignature call = AllGatherCall(transfers, size_);
  return Queue("all_gather", [&](ncclComm_t comm) {
    ncclResult_t result = ncclSuccess;
    for (size_t i = 0; i < transfers.size() && !IsError(result); ++i) {
      if (call.bytes[i] == 0) continue;
      result =
          ncclAllGather(transfers[i].send.data(), transfers[i].recv.data(), call.bytes[i], ncclUint8, comm, stream_);
    }
    return result;
  });
}

absl::Status LibraryLinks::AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                             std::span<const int64_t> recv_rows) {
  const CallSignature call = AllToAllRowsCall(transfers, send_rows, recv_rows, size_);
  if (send_rows[rank_] != recv_rows[rank_]) {
    return Fail(RowCountMismatch(rank_, send_rows[rank_], rank_, recv_rows[rank_]));
  }
  return Queue("all_to_all_rows", [&](ncclComm_t comm) {
    ncclResult_t result = ncclSuccess;
    for (size_t i = 0; i < transfers.size(); ++i) {
      const auto* from = static_cast<const std::byte*>(transfers[i].send.data());
      auto* to = static_cast<std::byte*>(transfers[i].recv.data());
      for (int r = 0; r < size_ && !IsError(result); ++r) {
        const size_t sent = send_rows[r] * call.bytes[i];
        const size_t received = recv_rows[r] * call.bytes[i];
        if (sent > 0) result = ncclSend(from, sent, ncclUint8, r, comm, stream_);
        if (received > 0 && !IsError(result)) result = ncclRecv(to, received, ncclUint8, r, comm, stream_);
        from += sent;
        to += received;
      }
    }
    return result;
  });
}

}  // namespace

absl::StatusOr<std::shared_ptr<NcclLinks>> NcclLinks::Make(Communicator& host, void* stream) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return absl::InternalError(cudaGetErrorString(error));
  return std::make_shared<LibraryLinks>(device, static_cast<cudaStream_t>(stream), host);
}

absl::StatusOr<NcclId> MakeNcclId() {
  ncclUniqueId unique = {};
  const ncclResult_t result = ncclGetUniqueId(&unique);
  if (IsError(result)) return absl::UnavailableError(absl::StrCat("NCCL: ", ncclGetErrorString(result)));
  return std::to_array(unique.internal);
}

int NcclVersionCode() {
  int code = 0;
  return IsError(ncclGetVersion(&code)) ? 0 : code;
}

}  // namespace switchyard
