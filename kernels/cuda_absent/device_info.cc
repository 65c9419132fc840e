#include "kernels/device_info.h"

#include "absl/status/status.h"

namespace switchyard {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError(
      "this build of switchyard has no CUDA backend; install the CUDA 13 toolkit and build again");
}

}  // namespace

absl::StatusOr<std::vector<GpuInfo>> ListGpus(std::span<const int> /*indices*/) { return NoCuda(); }
absl::StatusOr<PeerCopy> MeasurePeerCopy(int /*from*/, int /*to*/) { return NoCuda(); }

}  // namespace switchyard
