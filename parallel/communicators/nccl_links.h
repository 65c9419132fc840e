// NCCL's communicator of one rank, without its types: collectives on the backend's stream, and the end of them all.
// Internal to this folder; nccl_links.cc is the one file that knows NCCL.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/communicators/nccl_watch.h"

namespace switchyard {

// What the ranks of one communicator have in common; plain bytes, made by one of them.
using NcclId = std::array<char, 128>;

// UNAVAILABLE with NCCL's reason.
absl::StatusOr<NcclId> MakeNcclId();
// NCCL_VERSION_CODE of the library that is loaded, as NCCL makes it since 2.9; 0 where it does not say.
int NcclVersionCode();

// Collectives are queued; each returns once NCCL has put it on the stream, or with the failure, which is then
// everybody's. Arguments as Communicator's.
class NcclLinks : public NcclWatch {
 public:
  // On the device that is current. `host` and `stream`, a cudaStream_t, are borrowed. INTERNAL: there is no device.
  // Shared with the watching thread, whose body is Watch.
  static absl::StatusOr<std::shared_ptr<NcclLinks>> Make(Communicator& host, void* stream);

  // Once, before any collective: returns when all ranks have called it with the same id.
  virtual absl::Status Initialize(const NcclId& id) = 0;

  virtual absl::Status Broadcast(TensorView data, int root) = 0;
  // `name` is what errors call it.
  virtual absl::Status AllReduceSum(const char* name, TensorView data) = 0;
  virtual absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) = 0;
  virtual absl::Status AllGatherGroup(std::span<const Transfer> transfers) = 0;
  virtual absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                         std::span<const int64_t> recv_rows) = 0;

 protected:
  using NcclWatch::NcclWatch;
};

}  // namespace switchyard
