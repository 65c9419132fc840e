#include "parallel/communicators/nccl.h"

#include <cstdint>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/check.h"
#include "parallel/communicators/agreement.h"
#include "parallel/communicators/nccl_links.h"

namespace switchyard {
namespace {

// The first version that lets ranks share a GPU.
constexpr int kSharedDeviceVersion = 23000;

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const NcclOptions& options, Communicator& host, Backend& backend)
      : options_(options), rank_(host.rank()), size_(host.size()), backend_(backend) {}

  ~NcclCommunicator() override {
    if (!watcher_.joinable()) return;
    // A thread that NCCL does not let go keeps its part of the communicator alive.
    if (links_->Stop()) {
      watcher_.join();
    } else {
      watcher_.detach();
    }
  }

  absl::Status Connect(const NcclId& id, Communicator& host, absl::Time begin);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return absl::StrCat("nccl ", NcclVersion()); }
  bool can_record() const override { return true; }
  absl::Status Health() const override { return links_->failure(); }
  void Abort(const absl::Status& reason) override {
    CHECK(!reason.ok());
    links_->Fail(reason).IgnoreError();
  }

  void BeginStep() override { CHECK(links_->BeginLimit(absl::Now(), options_.step_timeout)); }
  absl::Status EndStep() override {
    links_->EndLimit();
    const absl::Status error = links_->AsyncError();
    return error.ok() ? links_->failure() : links_->Fail(error);
  }

  // A sum that needs all ranks, waited for.
  absl::Status Barrier() override {
    const CallLimit limit = LimitFromNow();
    absl::Status status = links_->AllReduceSum("barrier", words_.Top(1));
    return status.ok() ? Synchronize() : status;
  }

  absl::Status Broadcast(TensorView data, int root) override {
    const CallLimit limit = LimitFromNow();
    return links_->Broadcast(data, root);
  }
  absl::Status AllReduceSum(TensorView data) override {
    const CallLimit limit = LimitFromNow();
    return links_->AllReduceSum("all_reduce", data);
  }
  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    const CallLimit limit = LimitFromNow();
    return links_->ReduceScatterSum(send, recv);
  }
  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
    const CallLimit limit = LimitFromNow();
    return links_->AllGatherGroup(transfers);
  }
  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    const CallLimit limit = LimitFromNow();
    return links_->AllToAllRowsGroup(transfers, send_rows, recv_rows);
  }

 private:
  CallLimit LimitFromNow() { return CallLimit(*links_, absl::Now(), options_.step_timeout); }

  // Waits for the device, which after an abort ends as if all were well.
  absl::Status Synchronize() {
    const absl::Status status = backend_.Synchronize();
    const absl::Status failed = links_->failure();
    if (!failed.ok() || status.ok()) return failed;
    return links_->Fail(absl::Status(status.code(), absl::StrCat("rank ", rank_, ": ", status.message())));
  }

  // NCCL connects, and takes memory for it, at the first collective of a kind.
  absl::Status ConnectForEveryKind();

  // Constant after Connect.
  const NcclOptions options_;
  const int rank_;
  const int size_;
  Backend& backend_;
  Tensor words_;  // float32 [2 * size]
  std::shared_ptr<NcclLinks> links_;
  std::thread watcher_;
};

absl::Status NcclCommunicator::Connect(const NcclId& id, Communicator& host, absl::Time begin) {
  absl::StatusOr<std::shared_ptr<NcclLinks>> links = NcclLinks::Make(host, backend_.native_stream());
  absl::StatusOr<Tensor> words = backend_.AllocateTensor(DType::kFloat32, Shape{2 * size_});
  absl::Status own = words.status();
  own.Update(links.status());
  absl::Status status = Agree(host, own);
  if (!status.ok()) return status;
  words_ = *std::move(words);
  links_ = *std::move(links);
  watcher_ = std::thread([links = links_] { links->Watch(); });
  // Even where the time is up already, the watching thread is who says so.
  const CallLimit limit(*links_, begin, options_.connect_timeout);
  status = links_->Initialize(id);
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
  absl::Status status;
  if (options.shares_device && NcclVersionCode() < kSharedDeviceVersion) {
    status = absl::FailedPreconditionError(
        absl::StrCat("NCCL ", NcclVersion(), " does not let ranks share a GPU; 2.30 or later does"));
  }
  NcclId id = {};
  if (status.ok() && host.rank() == 0) {
    const absl::StatusOr<NcclId> made = MakeNcclId();
    status = made.status();
    if (made.ok()) id = *made;
  }
  status = Agree(host, status);
  if (!status.ok()) return status;
  status = host.Broadcast(TensorView(id.data(), DType::kUInt8, Shape{static_cast<int64_t>(id.size())}), 0);
  if (!status.ok()) return status;
  auto communicator = std::make_unique<NcclCommunicator>(options, host, backend);
  status = communicator->Connect(id, host, begin);
  if (!status.ok()) return status;
  return communicator;
}

std::string NcclVersion() {
  const int code = NcclVersionCode();
  if (code == 0) return "unknown";
  return absl::StrCat(code / 10000, ".", code / 100 % 100, ".", code % 100);
}

}  // namespace switchyard
