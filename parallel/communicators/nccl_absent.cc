// Linked in builds without CUDA.
#include "parallel/communicators/agreement.h"
#include "parallel/communicators/nccl.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const NcclOptions& /*options*/, Communicator& host,
                                                                     Backend& /*backend*/) {
  const absl::Status absent = absl::UnimplementedError(
      "this build of switchyard has no NCCL; install the CUDA 13 toolkit and libnccl-dev and build again");
  const absl::Status agreed = Agree(host, absent);
  return agreed.ok() ? absent : agreed;
}

std::string NcclVersion() { return "none"; }

}  // namespace switchyard
