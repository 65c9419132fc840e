#include "tests/parallel/communicators/through_device.h"

#include <utility>
#include <vector>

namespace switchyard {
namespace {

class ThroughDeviceCommunicator final : public Communicator {
 public:
  ThroughDeviceCommunicator(Communicator& communicator, Backend& backend)
      : communicator_(communicator), backend_(backend) {}

  int rank() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }
  std::string transport() const override { return communicator_.transport(); }
  absl::Status Health() const override { return communicator_.Health(); }
  void Abort(const absl::Status& reason) override { communicator_.Abort(reason); }
  absl::Status Barrier() override { return communicator_.Barrier(); }

  absl::Status Broadcast(TensorView data, int root) override {
    Tensor copy = Upload(data);
    return Download(communicator_.Broadcast(copy.view(), root), copy, data);
  }
  absl::Status AllReduceSum(TensorView data) override {
    Tensor copy = Upload(data);
    return Download(communicator_.AllReduceSum(copy.view()), copy, data);
  }
  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    const Tensor sent = Upload(send);
    Tensor received = Upload(recv);
    return Download(communicator_.ReduceScatterSum(sent.view(), received.view()), received, recv);
  }
  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
    return Exchange(transfers, [&](std::span<const Transfer> copies) { return communicator_.AllGatherGroup(copies); });
  }
  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    return Exchange(transfers, [&](std::span<const Transfer> copies) {
      return communicator_.AllToAllRowsGroup(copies, send_rows, recv_rows);
    });
  }

 private:
  template <typename Collective>
  absl::Status Exchange(std::span<const Transfer> transfers, Collective collective) {
    std::vector<Tensor> sent, received;
    for (const Transfer& transfer : transfers) {
      sent.push_back(Upload(transfer.send));
      received.push_back(Upload(transfer.recv));
    }
    std::vector<Transfer> copies;
    for (size_t i = 0; i < transfers.size(); ++i) copies.push_back({sent[i].view(), received[i].view()});
    absl::Status status = collective(copies);
    for (size_t i = 0; i < transfers.size(); ++i) status = Download(status, received[i], transfers[i].recv);
    return status;
  }

  Tensor Upload(ConstTensorView host) {
    Tensor tensor = *backend_.AllocateTensor(host.dtype(), host.shape());
    if (host.bytes() > 0) CHECK(backend_.CopyFromHost(host, tensor.view()).ok());
    return tensor;
  }
  absl::Status Download(absl::Status status, const Tensor& tensor, TensorView host) {
    status.Update(backend_.Synchronize());
    status.Update(communicator_.Health());
    if (status.ok() && host.bytes() > 0) status = backend_.CopyToHost(tensor.view(), host);
    return status;
  }

  Communicator& communicator_;
  Backend& backend_;
};

}  // namespace

std::unique_ptr<Communicator> ThroughDevice(Communicator& communicator, Backend& backend) {
  return std::make_unique<ThroughDeviceCommunicator>(communicator, backend);
}

}  // namespace switchyard
