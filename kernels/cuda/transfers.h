// Small copies between host and device that never make the device wait for the host: through pinned memory, in stream
// order.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::cuda {

// Used by the rank's thread only.
class Transfers {
 public:
  static absl::StatusOr<Transfers> Create(cudaStream_t stream);
  Transfers(Transfers&& other) noexcept;
  Transfers& operator=(Transfers&&) = delete;
  ~Transfers();

  // `host` may be reused on return; the copy is queued.
  absl::Status Upload(const void* host, size_t bytes, void* device);
  // Waits for all that was queued before.
  absl::Status Download(const void* device, size_t bytes, void* host);

 private:
  // While the copies from one half are on their way, the other is filled.
  static constexpr size_t kHalfBytes = size_t{2} << 20;

  explicit Transfers(cudaStream_t stream) : stream_(stream) {}
  absl::Status EnterHalf(int half);

  const cudaStream_t stream_;
  std::byte* pinned_ = nullptr;             // two halves for uploads, then one for downloads
  std::array<cudaEvent_t, 2> left_half_{};  // recorded behind the last copy from each half
  int half_ = 0;
  size_t used_ = 0;  // of the current half
};

}  // namespace switchyard::cuda
