#include "parallel/communicators/staged.h"

#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/cpu/float_convert.h"

namespace switchyard {
namespace {

// Tensors of one call begin on cache lines of their buffer.
constexpr size_t kAlignment = 64;
size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void CheckSumType(DType dtype) {
  CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16);
}

void ToFloats(ConstTensorView halves, float* floats) {
  const auto* bits = static_cast<const uint16_t*>(halves.data());
  const bool bfloat16 = halves.dtype() == DType::kBFloat16;
  for (int64_t i = 0; i < halves.num_elements(); ++i) {
    floats[i] = bfloat16 ? FloatFromBFloat16(bits[i]) : FloatFromFloat16(bits[i]);
  }
}

void RoundFloats(const float* floats, TensorView halves) {
  auto* bits = static_cast<uint16_t*>(halves.data());
  const bool bfloat16 = halves.dtype() == DType::kBFloat16;
  for (int64_t i = 0; i < halves.num_elements(); ++i) {
    bits[i] = bfloat16 ? BFloat16FromFloat(floats[i]) : Float16FromFloat(floats[i]);
  }
}

class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(Communicator& host, Backend& backend) : host_(host), backend_(backend) {}

  absl::Status Allocate(size_t max_message_bytes) {
    absl::Status status = Grow(sent_, max_message_bytes);
    status.Update(Grow(received_, max_message_bytes));
    return status;
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  std::string transport() const override { return absl::StrCat("staged over ", host_.transport()); }
  absl::Status Health() const override { return host_.Health(); }
  void Abort(const absl::Status& reason) override { host_.Abort(reason); }

  absl::Status Barrier() override {
    const absl::Status status = backend_.Synchronize();
    return status.ok() ? host_.Barrier() : Fail(status);
  }

  absl::Status Broadcast(TensorView data, int root) override {
    CHECK(root >= 0 && root < size());
    absl::Status status = Grow(sent_, data.bytes());
    if (!status.ok()) return Fail(status);
    const TensorView staged = At(sent_, 0, data);
    if (rank() == root) {
      status = Download(data, staged);
      return status.ok() ? host_.Broadcast(staged, root) : status;
    }
    status = host_.Broadcast(staged, root);
    return status.ok() ? Upload(staged, data) : status;
  }

  absl::Status AllReduceSum(TensorView data) override {
    CheckSumType(data.dtype());
    absl::Status status = Grow(sent_, data.bytes());
    if (!status.ok()) return Fail(status);
    const TensorView staged = At(sent_, 0, data);
    status = Download(data, staged);
    if (!status.ok()) return status;
    if (data.dtype() == DType::kFloat32) {
      status = host_.AllReduceSum(staged);
    } else {
      const std::span<float> floats = Floats(float_terms_, data.num_elements());
      ToFloats(staged, floats.data());
      status = host_.AllReduceSum(TensorView::Of(floats));
      RoundFloats(floats.data(), staged);
    }
    return status.ok() ? Upload(staged, data) : status;
  }

  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    CheckSumType(send.dtype());
    CHECK(send.dtype() == recv.dtype());
    CHECK_EQ(send.num_elements(), size() * recv.num_elements());
    absl::Status status = Allocate(send.bytes());
    if (!status.ok()) return Fail(status);
    const TensorView terms = At(sent_, 0, send);
    const TensorView sums = At(received_, 0, recv);
    status = Download(send, terms);
    if (!status.ok()) return status;
    if (send.dtype() == DType::kFloat32) {
      status = host_.ReduceScatterSum(terms, sums);
    } else {
      const std::span<float> float_terms = Floats(float_terms_, send.num_elements());
      const std::span<float> float_sums = Floats(float_sums_, recv.num_elements());
      ToFloats(terms, float_terms.data());
      status =
          host_.ReduceScatterSum(ConstTensorView::Of(std::span<const float>(float_terms)), TensorView::Of(float_sums));
      RoundFloats(float_sums.data(), sums);
    }
    return status.ok() ? Upload(sums, recv) : status;
  }

  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
    return Exchange(transfers, [&](std::span<const Transfer> staged) { return host_.AllGatherGroup(staged); });
  }

  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    return Exchange(transfers, [&](std::span<const Transfer> staged) {
      return host_.AllToAllRowsGroup(staged, send_rows, recv_rows);
    });
  }

 private:
  // Downloads what `transfers` send, calls `collective` with their copies in host memory, and uploads what it received.
  template <typename Collective>
  absl::Status Exchange(std::span<const Transfer> transfers, Collective collective) {
    CHECK_LE(transfers.size(), kMaxTransfers);
    size_t send_bytes = 0;
    size_t recv_bytes = 0;
    for (const Transfer& transfer : transfers) {
      send_bytes += Aligned(transfer.send.bytes());
      recv_bytes += Aligned(transfer.recv.bytes());
    }
    absl::Status status = Grow(sent_, send_bytes);
    status.Update(Grow(received_, recv_bytes));
    if (!status.ok()) return Fail(status);
    std::array<Transfer, kMaxTransfers> copies;
    size_t send_begin = 0;
    size_t recv_begin = 0;
    for (size_t i = 0; i < transfers.size(); ++i) {
      const TensorView send = At(sent_, send_begin, transfers[i].send);
      status = Download(transfers[i].send, send);
      if (!status.ok()) return status;
      copies[i] = {send, At(received_, recv_begin, transfers[i].recv)};
      send_begin += Aligned(transfers[i].send.bytes());
      recv_begin += Aligned(transfers[i].recv.bytes());
    }
    status = collective(std::span<const Transfer>(copies.data(), transfers.size()));
    for (size_t i = 0; i < transfers.size() && status.ok(); ++i) status = Upload(copies[i].recv, transfers[i].recv);
    return status;
  }

  absl::Status Download(ConstTensorView device, TensorView host) {
    if (device.bytes() == 0) return absl::OkStatus();
    const absl::Status status = backend_.CopyToHost(device, host);
    return status.ok() ? status : Fail(status);
  }
  absl::Status Upload(ConstTensorView host, TensorView device) {
    if (device.bytes() == 0) return absl::OkStatus();
    const absl::Status status = backend_.CopyFromHost(host, device);
    return status.ok() ? status : Fail(status);
  }
  // A fault of this rank's device or memory is the end for all ranks.
  absl::Status Fail(const absl::Status& fault) {
    host_.Abort(absl::Status(fault.code(), absl::StrCat("rank ", rank(), ": ", fault.message())));
    return host_.Health();
  }

  absl::Status Grow(Buffer& buffer, size_t bytes) {
    if (buffer.bytes() >= bytes) return absl::OkStatus();
    absl::StatusOr<Buffer> grown = backend_.AllocateStaging(bytes);
    if (!grown.ok()) return grown.status();
    buffer = *std::move(grown);
    return absl::OkStatus();
  }
  template <typename Void>
  static TensorView At(Buffer& buffer, size_t begin, const BasicTensorView<Void>& like) {
    return TensorView(static_cast<std::byte*>(buffer.data()) + begin, like.dtype(), like.shape());
  }
  static std::span<float> Floats(std::vector<float>& values, int64_t n) {
    if (static_cast<int64_t>(values.size()) < n) values.resize(n);
    return std::span(values).first(n);
  }

  Communicator& host_;
  Backend& backend_;
  Buffer sent_;
  Buffer received_;
  std::vector<float> float_terms_;  // of sums of 16-bit types
  std::vector<float> float_sums_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateStagedCommunicator(Communicator& host, Backend& backend,
                                                                       size_t max_message_bytes) {
  auto communicator = std::make_unique<StagedCommunicator>(host, backend);
  const absl::Status status = communicator->Allocate(max_message_bytes);
  if (!status.ok()) return status;
  return communicator;
}

}  // namespace switchyard
