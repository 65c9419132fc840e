#include "parallel/communicators/in_process.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "kernels/check.h"
#include "parallel/communicators/arrival_gate.h"
#include "parallel/communicators/call.h"
#include "parallel/communicators/sum.h"

namespace switchyard {
namespace {

// What a rank shows the others while a collective runs: its arguments.
struct alignas(64) PostedCall {
  CallSignature signature;
  std::array<const std::byte*, Communicator::kMaxTransfers> send = {};
  std::byte* data = nullptr;           // of AllReduceSum
  const int64_t* send_rows = nullptr;  // of AllToAllRows, [size]
};

struct Group {
  Group(int size, absl::Duration timeout, const std::function<bool()>& meanwhile)
      : size(size), timeout(timeout), begin(size, meanwhile), end(size), posted(static_cast<size_t>(size)) {}

  // Keeps the first reason.
  void Fail(const absl::Status& reason) {
    const std::lock_guard lock(mu);
    if (!failure.ok()) return;
    failure = reason;
    begin.Break();
  }
  absl::Status failure_status() {
    const std::lock_guard lock(mu);
    return failure;
  }

  const int size;
  const absl::Duration timeout;
  ArrivalGate begin;
  ArrivalGate end;  // never broken: between the two gates nobody waits for anything
  std::vector<PostedCall> posted;
  std::mutex mu;
  absl::Status failure;  // guarded by mu; set before `begin` is seen broken
};

class InProcessCommunicator final : public Communicator {
 public:
  InProcessCommunicator(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->size; }
  std::string transport() const override { return "shared memory"; }

  absl::Status Barrier() override {
    return Run({}, [] { return absl::OkStatus(); });
  }

  absl::Status Broadcast(TensorView data, int root) override {
    PostedCall call{.signature = BroadcastCall(data, root, size())};
    call.send[0] = static_cast<const std::byte*>(data.data());
    return Run(call, [&] {
      if (rank_ != root) Copy(data.data(), posted(root).send[0], data.bytes());
      return absl::OkStatus();
    });
  }

  // Each rank sums one slice over all ranks and writes it back to all of them; no other rank touches that slice.
  absl::Status AllReduceSum(TensorView data) override {
    PostedCall call{.signature = AllReduceCall(data)};
    call.data = static_cast<std::byte*>(data.data());
    return Run(call, [&] {
      const int64_t slice = SliceElements(data.num_elements());
      const int64_t slice_begin = std::min(rank_ * slice, data.num_elements());
      const int64_t slice_end = std::min(slice_begin + slice, data.num_elements());
      std::array<float, kBlockElements> sum;
      for (int64_t begin = slice_begin; begin < slice_end; begin += kBlockElements) {
        const int64_t n = std::min(kBlockElements, slice_end - begin);
        Copy(sum.data(), Floats(0) + begin, n * sizeof(float));
        for (int r = 1; r < size(); ++r) AddTo(sum.data(), Floats(r) + begin, n);
        for (int r = 0; r < size(); ++r) Copy(Floats(r) + begin, sum.data(), n * sizeof(float));
      }
      return absl::OkStatus();
    });
  }

  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    PostedCall call{.signature = ReduceScatterCall(send, recv, size())};
    call.send[0] = static_cast<const std::byte*>(send.data());
    return Run(call, [&] {
      const int64_t n = recv.num_elements();
      const auto block = [&](int r) { return reinterpret_cast<const float*>(posted(r).send[0]) + rank_ * n; };
      auto* out = static_cast<float*>(recv.data());
      for (int64_t begin = 0; begin < n; begin += kBlockElements) {
        const int64_t count = std::min(kBlockElements, n - begin);
        Copy(out + begin, block(0) + begin, count * sizeof(float));
        for (int r = 1; r < size(); ++r) AddTo(out + begin, block(r) + begin, count);
      }
      return absl::OkStatus();
    });
  }

  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
    PostedCall call{.signature = AllGatherCall(transfers, size())};
    PostSends(transfers, call);
    return Run(call, [&] {
      for (size_t i = 0; i < transfers.size(); ++i) {
        const size_t bytes = transfers[i].send.bytes();
        auto* out = static_cast<std::byte*>(transfers[i].recv.data());
        for (int r = 0; r < size(); ++r) Copy(out + r * bytes, posted(r).send[i], bytes);
      }
      return absl::OkStatus();
    });
  }

  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    PostedCall call{.signature = AllToAllRowsCall(transfers, send_rows, recv_rows, size())};
    PostSends(transfers, call);
    call.send_rows = send_rows.data();
    return Run(call, [&] {
      int64_t recv_begin = 0;
      for (int r = 0; r < size(); ++r) {
        const int64_t* sent = posted(r).send_rows;
        if (sent[rank_] != recv_rows[r]) return RowCountMismatch(r, sent[rank_], rank_, recv_rows[r]);
        int64_t sent_begin = 0;
        for (int before = 0; before < rank_; ++before) sent_begin += sent[before];
        for (size_t i = 0; i < transfers.size(); ++i) {
          const uint64_t row_bytes = call.signature.bytes[i];
          Copy(static_cast<std::byte*>(transfers[i].recv.data()) + recv_begin * row_bytes,
               posted(r).send[i] + sent_begin * row_bytes, recv_rows[r] * row_bytes);
        }
        recv_begin += recv_rows[r];
      }
      return absl::OkStatus();
    });
  }

  absl::Status Health() const override { return group_->failure_status(); }
  void Abort(const absl::Status& reason) override {
    CHECK(!reason.ok());
    group_->Fail(reason);
  }

 private:
  // Sums are made block by block so that the running sum stays in the first-level cache.
  static constexpr int64_t kBlockElements = 1024;

  // Tensors without elements may have a null pointer, which memcpy must not see.
  static void Copy(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  static void PostSends(std::span<const Transfer> transfers, PostedCall& call) {
    for (size_t i = 0; i < transfers.size(); ++i) {
      call.send[i] = static_cast<const std::byte*>(transfers[i].send.data());
    }
  }

  const PostedCall& posted(int rank) const { return group_->posted[rank]; }
  float* Floats(int rank) const { return reinterpret_cast<float*>(posted(rank).data); }
  // In whole cache lines, so that ranks do not write to one line.
  int64_t SliceElements(int64_t n) const {
    constexpr int64_t kLine = 64 / sizeof(float);
    const int64_t even = (n + size() - 1) / size();
    return (even + kLine - 1) / kLine * kLine;
  }

  // Posts `call`, waits for all ranks, checks that they agree, does `work`, and waits until all have done theirs.
  template <typename Work>
  absl::Status Run(const PostedCall& call, Work work) {
    Group& group = *group_;
    group.posted[rank_] = call;
    const absl::Status arrived = ArriveAtBegin(call.signature.kind);
    if (!arrived.ok()) return arrived;

    absl::Status status;
    for (int r = 0; r < size() && status.ok(); ++r) {
      status = CheckSameCall(call.signature, rank_, posted(r).signature, r);
    }
    if (status.ok()) status = work();
    if (!status.ok()) group.Fail(status);

    group.end.Wait(group.end.Arrive(rank_), absl::InfiniteFuture());
    return group.begin.broken() ? group.failure_status() : absl::OkStatus();
  }

  absl::Status ArriveAtBegin(CollectiveKind kind) {
    Group& group = *group_;
    const ArrivalGate::Ticket ticket = group.begin.Arrive(rank_);
    ArrivalGate::Outcome outcome = group.begin.Wait(ticket, absl::Now() + group.timeout);
    if (outcome == ArrivalGate::Outcome::kTimedOut) {
      const std::lock_guard lock(group.mu);
      if (group.begin.BreakUnlessOpened(ticket)) {
        group.failure = absl::DeadlineExceededError(
            absl::StrCat(Name(kind), ": rank ", absl::StrJoin(group.begin.Missing(ticket), ", rank "),
                         " did not take part within ", absl::FormatDuration(group.timeout)));
        return group.failure;
      }
      outcome = group.begin.Wait(ticket, absl::InfiniteFuture());
    }
    return outcome == ArrivalGate::Outcome::kOpened ? absl::OkStatus() : group.failure_status();
  }

  const std::shared_ptr<Group> group_;
  const int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> CreateInProcessCommunicators(int size, absl::Duration timeout,
                                                                        const std::function<bool()>& meanwhile) {
  CHECK_GE(size, 1);
  const auto group = std::make_shared<Group>(size, timeout, meanwhile);
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < size; ++rank) communicators.push_back(std::make_unique<InProcessCommunicator>(group, rank));
  return communicators;
}

}  // namespace switchyard
