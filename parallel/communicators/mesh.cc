#include "parallel/communicators/mesh.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "parallel/communicators/sum.h"

namespace switchyard {
namespace {

// Up to here an all-reduce sends everything to everyone: one step, where two would carry fewer bytes.
constexpr size_t kOneStepAllReduceBytes = 32 * 1024;

void Copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

class MeshCommunicator final : public Communicator {
 public:
  explicit MeshCommunicator(std::unique_ptr<Mesh> mesh) : mesh_(std::move(mesh)) {}

  int rank() const override { return mesh_->rank(); }
  int size() const override { return mesh_->size(); }
  std::string transport() const override { return mesh_->transport(); }

  absl::Status Barrier() override { return mesh_->Exchange({}, {}, {}); }

  absl::Status Broadcast(TensorView data, int root) override {
    const CallSignature call = BroadcastCall(data, root, size());
    Reset(call);
    const std::span<std::byte> bytes(static_cast<std::byte*>(data.data()), data.bytes());
    if (rank() == root) {
      std::fill(sends_.begin(), sends_.end(), bytes);
    } else {
      recvs_[root] = bytes;
    }
    return mesh_->Exchange(call, sends_, recvs_);
  }

  absl::Status AllReduceSum(TensorView data) override {
    const CallSignature call = AllReduceCall(data);
    const std::span<float> floats(static_cast<float*>(data.data()), data.num_elements());
    if (size() == 2 || data.bytes() <= kOneStepAllReduceBytes) return AllReduceInOneStep(call, floats);
    return AllReduceInTwoSteps(call, floats);
  }

  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    const CallSignature call = ReduceScatterCall(send, recv, size());
    const size_t n = recv.num_elements();
    const auto* blocks = static_cast<const float*>(send.data());
    Reset(call);
    GrowScratch(size() * n);
    for (int r = 0; r < size(); ++r) {
      sends_[r] = std::as_bytes(std::span(blocks + r * n, n));
      recvs_[r] = ScratchBlock(r, n);
    }
    const absl::Status status = mesh_->Exchange(call, sends_, recvs_);
    if (!status.ok()) return status;
    SumBlocks({blocks + rank() * n, n}, {static_cast<float*>(recv.data()), n});
    return absl::OkStatus();
  }

  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
    const CallSignature call = AllGatherCall(transfers, size());
    Reset(call);
    for (size_t i = 0; i < transfers.size(); ++i) {
      const size_t bytes = transfers[i].send.bytes();
      auto* out = static_cast<std::byte*>(transfers[i].recv.data());
      for (int r = 0; r < size(); ++r) {
        sends_[r * transfers.size() + i] = {static_cast<const std::byte*>(transfers[i].send.data()), bytes};
        recvs_[r * transfers.size() + i] = {out + r * bytes, bytes};
      }
    }
    const absl::Status status = mesh_->Exchange(call, sends_, recvs_);
    if (status.ok()) CopyOwn(transfers.size());
    return status;
  }

  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    const CallSignature call = AllToAllRowsCall(transfers, send_rows, recv_rows, size());
    if (send_rows[rank()] != recv_rows[rank()]) {
      const absl::Status status = RowCountMismatch(rank(), send_rows[rank()], rank(), recv_rows[rank()]);
      mesh_->Abort(status);
      return status;
    }
    Reset(call);
    for (size_t i = 0; i < transfers.size(); ++i) {
      const auto* from = static_cast<const std::byte*>(transfers[i].send.data());
      auto* to = static_cast<std::byte*>(transfers[i].recv.data());
      for (int r = 0; r < size(); ++r) {
        const size_t index = r * transfers.size() + i;
        sends_[index] = {from, send_rows[r] * call.bytes[i]};
        recvs_[index] = {to, recv_rows[r] * call.bytes[i]};
        from += sends_[index].size();
        to += recvs_[index].size();
      }
    }
    const absl::Status status = mesh_->Exchange(call, sends_, recvs_);
    if (status.ok()) CopyOwn(transfers.size());
    return status;
  }

  absl::Status Health() const override { return mesh_->Health(); }
  void Abort(const absl::Status& reason) override {
    CHECK(!reason.ok());
    mesh_->Abort(reason);
  }

 private:
  // Everyone sends all to everyone and sums for itself.
  absl::Status AllReduceInOneStep(const CallSignature& call, std::span<float> floats) {
    Reset(call);
    GrowScratch(size() * floats.size());
    for (int r = 0; r < size(); ++r) {
      sends_[r] = std::as_bytes(floats);
      recvs_[r] = ScratchBlock(r, floats.size());
    }
    const absl::Status status = mesh_->Exchange(call, sends_, recvs_);
    if (!status.ok()) return status;
    // The own floats are an operand and the result at once; the sum goes through the scratch of the own rank.
    const std::span<std::byte> own = ScratchBlock(rank(), floats.size());
    Copy(own.data(), floats.data(), own.size());
    SumBlocks({reinterpret_cast<const float*>(own.data()), floats.size()}, floats);
    return absl::OkStatus();
  }

  // Rank r sums slice r and sends it to everyone.
  absl::Status AllReduceInTwoSteps(const CallSignature& call, std::span<float> floats) {
    const size_t slice = (floats.size() + size() - 1) / size();
    const auto slice_of = [&](int r) {
      const size_t begin = std::min(r * slice, floats.size());
      return floats.subspan(begin, std::min(slice, floats.size() - begin));
    };
    const std::span<float> mine = slice_of(rank());
    Reset(call);
    GrowScratch(size() * slice);
    for (int r = 0; r < size(); ++r) {
      sends_[r] = std::as_bytes(slice_of(r));
      recvs_[r] = ScratchBlock(r, mine.size());
    }
    absl::Status status = mesh_->Exchange(call, sends_, recvs_);
    if (!status.ok()) return status;
    const std::span<std::byte> own = ScratchBlock(rank(), mine.size());
    Copy(own.data(), mine.data(), own.size());
    SumBlocks({reinterpret_cast<const float*>(own.data()), mine.size()}, mine);
    for (int r = 0; r < size(); ++r) {
      sends_[r] = std::as_bytes(mine);
      recvs_[r] = std::as_writable_bytes(slice_of(r));
    }
    return mesh_->Exchange(call, sends_, recvs_);
  }

  // out = sum over ranks in rank order of their blocks in scratch_, this rank's being `own`.
  void SumBlocks(std::span<const float> own, std::span<float> out) {
    for (int r = 0; r < size(); ++r) {
      const float* block = r == rank() ? own.data() : scratch_.data() + r * out.size();
      if (r == 0) {
        Copy(out.data(), block, out.size_bytes());
      } else {
        AddTo(out.data(), block, static_cast<int64_t>(out.size()));
      }
    }
  }

  void CopyOwn(size_t num_transfers) {
    for (size_t i = rank() * num_transfers; i < (rank() + 1) * num_transfers; ++i) {
      Copy(recvs_[i].data(), sends_[i].data(), sends_[i].size());
    }
  }
  void Reset(const CallSignature& call) {
    sends_.assign(size() * call.num_transfers, {});
    recvs_.assign(size() * call.num_transfers, {});
  }
  void GrowScratch(size_t n) {
    if (scratch_.size() < n) scratch_.resize(n);
  }
  std::span<std::byte> ScratchBlock(int r, size_t n) {
    return std::as_writable_bytes(std::span(scratch_).subspan(r * n, n));
  }

  const std::unique_ptr<Mesh> mesh_;
  // Kept from call to call for their memory.
  std::vector<std::span<const std::byte>> sends_;
  std::vector<std::span<std::byte>> recvs_;
  std::vector<float> scratch_;
};

}  // namespace

std::unique_ptr<Communicator> CreateMeshCommunicator(std::unique_ptr<Mesh> mesh) {
  return std::make_unique<MeshCommunicator>(std::move(mesh));
}

}  // namespace switchyard
