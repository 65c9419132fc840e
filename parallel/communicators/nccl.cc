#include "parallel/communicators/nccl.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/check.h"
#include "parallel/communicators/agreement.h"
#include "parallel/communicators/call.h"

namespace switchyard {
namespace {

constexpr std::chrono::milliseconds kWatchPeriod(20);
// How long `host` may take to say who was lost after NCCL has noticed that somebody was.
constexpr absl::Duration kBlamePeriod = absl::Milliseconds(250);
// Of the last calls to NCCL, together; what hangs longer is left behind.
constexpr std::chrono::seconds kFarewell(5);
constexpr absl::Duration kFinalizePeriod = absl::Seconds(2);
// While NCCL is busy its state is asked for again at once so many times, then after pauses.
constexpr int kEagerPolls = 200;
constexpr absl::Duration kPollPause = absl::Microseconds(20);
// The first version that lets ranks share a GPU.
constexpr int kSharedDeviceVersion = 23000;

bool IsError(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

ncclDataType_t SumType(DType dtype) {
  CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16);
  if (dtype == DType::kFloat32) return ncclFloat32;
  return dtype == DType::kBFloat16 ? ncclBfloat16 : ncclFloat16;
}

// One NCCL communicator with its failure and its time limit: what the rank's thread and the watching thread share.
class WatchedComm {
 public:
  WatchedComm(int device, Communicator& host) : rank_(host.rank()), device_(device), host_(host) {}

  // The rank's thread -------------------------------------------------------------------------------------------------
  absl::Status Initialize(int size, const ncclUniqueId& id);
  // Queues what `calls(comm)` calls as one group, and returns when NCCL has put it on the stream.
  template <typename Calls>
  absl::Status Queue(const char* name, Calls calls);
  // A time limit from `since` on; false: there is one already, which stays.
  bool BeginLimit(absl::Time since, absl::Duration limit);
  void EndLimit();
  absl::Status AsyncError();

  // Any thread --------------------------------------------------------------------------------------------------------
  absl::Status failure() const {
    const std::lock_guard lock(mu_);
    return failure_;
  }
  // Tells the other ranks, keeps the first reason of all, and lets the watching thread abort NCCL.
  absl::Status Fail(const absl::Status& reason);

  // The watching thread: until Stop or a failure; then it ends NCCL's communicator.
  void Watch();
  // False: that takes too long.
  bool Stop();

 private:
  absl::Status Await(const char* name, ncclResult_t result);
  absl::Status ErrorOf(const std::string& what, ncclResult_t result);
  void End(bool healthy);
  bool Finalize(ncclComm_t comm);

  const int rank_;
  const int device_;
  Communicator& host_;

  mutable std::mutex mu_;
  // Guarded by mu_.
  absl::Status failure_;
  absl::Time deadline_ = absl::InfiniteFuture();
  absl::Duration limit_;
  const char* last_call_ = nullptr;  // since BeginLimit
  bool stopping_ = false;
  bool ended_ = false;
  std::condition_variable changed_;

  // Held for calls to NCCL, which do not block. Who takes comm_ away may call without it.
  std::mutex nccl_mu_;
  ncclComm_t comm_ = nullptr;  // guarded by nccl_mu_; null before Initialize and after the end
};

absl::Status WatchedComm::Initialize(int size, const ncclUniqueId& id) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t result = ncclSuccess;
  {
    const std::lock_guard lock(mu_);
    last_call_ = "initialisation";
  }
  {
    const std::lock_guard lock(nccl_mu_);
    result = ncclCommInitRankConfig(&comm_, size, id, rank_, &config);
  }
  return Await("initialisation", result);
}

template <typename Calls>
absl::Status WatchedComm::Queue(const char* name, Calls calls) {
  {
    const std::lock_guard lock(mu_);
    if (!failure_.ok()) return failure_;
    last_call_ = name;
  }
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
absl::Status WatchedComm::Await(const char* name, ncclResult_t result) {
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

absl::Status WatchedComm::AsyncError() {
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
absl::Status WatchedComm::ErrorOf(const std::string& what, ncclResult_t result) {
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

bool WatchedComm::BeginLimit(absl::Time since, absl::Duration limit) {
  const std::lock_guard lock(mu_);
  if (deadline_ != absl::InfiniteFuture()) return false;
  deadline_ = since + limit;
  limit_ = limit;
  last_call_ = nullptr;
  return true;
}

void WatchedComm::EndLimit() {
  const std::lock_guard lock(mu_);
  deadline_ = absl::InfiniteFuture();
}

absl::Status WatchedComm::Fail(const absl::Status& reason) {
  // Of several ranks that fail at once, all give the reason of the first, as far as `host_` knows it.
  host_.Abort(reason);
  const absl::Status first = host_.Health();
  {
    const std::lock_guard lock(mu_);
    if (!failure_.ok()) return failure_;
    failure_ = first;
  }
  changed_.notify_all();
  return first;
}

void WatchedComm::Watch() {
  cudaSetDevice(device_);
  std::unique_lock lock(mu_);
  while (!changed_.wait_for(lock, kWatchPeriod, [this] { return stopping_ || !failure_.ok(); })) {
    absl::Status late;
    if (absl::Now() > deadline_) {
      late = absl::DeadlineExceededError(
          absl::StrCat("rank ", rank_, ": collectives were not complete within ", absl::FormatDuration(limit_),
                       last_call_ == nullptr ? "" : "; the last call: ", last_call_ == nullptr ? "" : last_call_,
                       "; another rank stays away, or a GPU hangs"));
    }
    lock.unlock();
    absl::Status found = host_.Health();
    found.Update(AsyncError());
    found.Update(late);
    if (!found.ok()) Fail(found).IgnoreError();
    lock.lock();
  }
  const bool healthy = failure_.ok();
  lock.unlock();
  End(healthy);
  lock.lock();
  ended_ = true;
  changed_.notify_all();
}

// Calls that may block: until the kernels have left, and until recordings of collectives are destroyed.
void WatchedComm::End(bool healthy) {
  ncclComm_t comm = nullptr;
  {
    const std::lock_guard lock(nccl_mu_);
    comm = std::exchange(comm_, nullptr);
  }
  if (comm == nullptr) return;
  const bool finalized = healthy && Finalize(comm);
  {
    // Orders all use of `host_` before the return of Stop, which gives up where the next call hangs.
    const std::lock_guard lock(mu_);
  }
  if (finalized) {
    ncclCommDestroy(comm);
  } else {
    ncclCommAbort(comm);
  }
}

bool WatchedComm::Finalize(ncclComm_t comm) {
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

bool WatchedComm::Stop() {
  std::unique_lock lock(mu_);
  stopping_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, kFarewell, [this] { return ended_; });
}

// The time limit of a call outside of steps.
class CallLimit {
 public:
  CallLimit(WatchedComm& comm, absl::Time since, absl::Duration limit)
      : comm_(comm), begun_(comm.BeginLimit(since, limit)) {}
  CallLimit(const CallLimit&) = delete;
  CallLimit& operator=(const CallLimit&) = delete;
  ~CallLimit() {
    if (begun_) comm_.EndLimit();
  }

 private:
  WatchedComm& comm_;
  const bool begun_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const NcclOptions& options, Communicator& host, Backend& backend)
      : options_(options),
        rank_(host.rank()),
        size_(host.size()),
        backend_(backend),
        stream_(static_cast<cudaStream_t>(backend.native_stream())) {}

  ~NcclCommunicator() override {
    if (!watcher_.joinable()) return;
    // A thread that NCCL does not let go keeps its part of the communicator alive.
    if (comm_->Stop()) {
      watcher_.join();
    } else {
      watcher_.detach();
    }
  }

  absl::Status Connect(const ncclUniqueId& id, Communicator& host, absl::Time begin);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return absl::StrCat("nccl ", NcclVersion()); }
  bool can_record() const override { return true; }
  absl::Status Health() const override { return comm_->failure(); }
  void Abort(const absl::Status& reason) override {
    CHECK(!reason.ok());
    comm_->Fail(reason).IgnoreError();
  }

  void BeginStep() override { CHECK(comm_->BeginLimit(absl::Now(), options_.step_timeout)); }
  absl::Status EndStep() override {
    comm_->EndLimit();
    const absl::Status error = comm_->AsyncError();
    return error.ok() ? comm_->failure() : comm_->Fail(error);
  }

  // A sum that needs all ranks, waited for.
  absl::Status Barrier() override {
    const CallLimit limit(*comm_, absl::Now(), options_.step_timeout);
    absl::Status status = AllReduce("barrier", words_.Top(1));
    return status.ok() ? Synchronize() : status;
  }

  absl::Status Broadcast(TensorView data, int root) override {
    CHECK(root >= 0 && root < size_);
    if (data.bytes() == 0) return comm_->failure();
    return Queue("broadcast", [&](ncclComm_t comm) {
      return ncclBroadcast(data.data(), data.data(), data.bytes(), ncclUint8, root, comm, stream_);
    });
  }

  absl::Status AllReduceSum(TensorView data) override { return AllReduce("all_reduce", data); }

  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    const ncclDataType_t type = SumType(recv.dtype());
    CHECK(send.dtype() == recv.dtype());
    CHECK_EQ(send.num_elements(), size_ * recv.num_elements());
    if (recv.bytes() == 0) return comm_->failure();
    return Queue("reduce_scatter", [&](ncclComm_t comm) {
      return ncclReduceScatter(send.data(), recv.data(), recv.num_elements(), type, ncclSum, comm, stream_);
    });
  }

  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
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

  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    const CallSignature call = AllToAllRowsCall(transfers, send_rows, recv_rows, size_);
    if (send_rows[rank_] != recv_rows[rank_]) {
      return comm_->Fail(RowCountMismatch(rank_, send_rows[rank_], rank_, recv_rows[rank_]));
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

 private:
  template <typename Calls>
  absl::Status Queue(const char* name, Calls calls) {
    const CallLimit limit(*comm_, absl::Now(), options_.step_timeout);
    return comm_->Queue(name, calls);
  }

  absl::Status AllReduce(const char* name, TensorView data) {
    const ncclDataType_t type = SumType(data.dtype());
    if (data.bytes() == 0) return comm_->failure();
    return Queue(name, [&](ncclComm_t comm) {
      return ncclAllReduce(data.data(), data.data(), data.num_elements(), type, ncclSum, comm, stream_);
    });
  }

  // Waits for the device, which after an abort ends as if all were well.
  absl::Status Synchronize() {
    const absl::Status status = backend_.Synchronize();
    const absl::Status failed = comm_->failure();
    if (!failed.ok() || status.ok()) return failed;
    return comm_->Fail(absl::Status(status.code(), absl::StrCat("rank ", rank_, ": ", status.message())));
  }

  // NCCL connects, and takes memory for it, at the first collective of a kind.
  absl::Status ConnectForEveryKind();

  // Constant after Connect.
  const NcclOptions options_;
  const int rank_;
  const int size_;
  Backend& backend_;
  const cudaStream_t stream_;
  Tensor words_;  // float32 [2 * size]
  std::shared_ptr<WatchedComm> comm_;
  std::thread watcher_;
};

absl::Status NcclCommunicator::Connect(const ncclUniqueId& id, Communicator& host, absl::Time begin) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  absl::StatusOr<Tensor> words = backend_.AllocateTensor(DType::kFloat32, Shape{2 * size_});
  absl::Status own = words.status();
  if (error != cudaSuccess) own.Update(absl::InternalError(cudaGetErrorString(error)));
  absl::Status status = Agree(host, own);
  if (!status.ok()) return status;
  words_ = *std::move(words);
  comm_ = std::make_shared<WatchedComm>(device, host);
  watcher_ = std::thread([comm = comm_] { comm->Watch(); });
  // Even where the time is up already, the watching thread is who says so.
  const CallLimit limit(*comm_, begin, options_.connect_timeout);
  status = comm_->Initialize(size_, id);
  return status.ok() ? ConnectForEveryKind() : status;
}

absl::Status NcclCommunicator::ConnectForEveryKind() {
  const TensorView words = words_.view();
  const TensorView first = words.Rows(0, size_);
  const TensorView second = words.Rows(size_, 2 * size_);
  const std::vector<int64_t> one_each(size_, 1);
  absl::Status status = AllReduceSum(first);
  if (status.ok()) status = ReduceScatterSum(first, second.Rows(0, 1));
  if (status.ok()) status = AllGather(second.Rows(0, 1), first);
  if (status.ok()) status = AllToAllRows(first, one_each, second, one_each);
  return status.ok() ? Synchronize() : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const NcclOptions& options, Communicator& host,
                                                                     Backend& backend) {
  CHECK(backend.device() == DeviceKind::kCuda);
  const absl::Time begin = absl::Now();
  int version = 0;
  ncclGetVersion(&version);
  absl::Status status;
  if (options.shares_device && version < kSharedDeviceVersion) {
    status = absl::FailedPreconditionError(
        absl::StrCat("NCCL ", NcclVersion(), " does not let ranks share a GPU; 2.30 or later does"));
  }
  ncclUniqueId id = {};
  if (status.ok() && host.rank() == 0) {
    const ncclResult_t result = ncclGetUniqueId(&id);
    if (IsError(result)) status = absl::UnavailableError(absl::StrCat("NCCL: ", ncclGetErrorString(result)));
  }
  status = Agree(host, status);
  if (!status.ok()) return status;
  status = host.Broadcast(TensorView(id.internal, DType::kUInt8, Shape{NCCL_UNIQUE_ID_BYTES}), 0);
  if (!status.ok()) return status;
  auto communicator = std::make_unique<NcclCommunicator>(options, host, backend);
  status = communicator->Connect(id, host, begin);
  if (!status.ok()) return status;
  return communicator;
}

// NCCL_VERSION_CODE as NCCL makes it since 2.9.
std::string NcclVersion() {
  int code = 0;
  if (IsError(ncclGetVersion(&code))) return "unknown";
  return absl::StrCat(code / 10000, ".", code / 100 % 100, ".", code % 100);
}

}  // namespace switchyard
