#include "kernels/cuda/transfers.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/status.h"

namespace switchyard::cuda {

absl::StatusOr<Transfers> Transfers::Create(cudaStream_t stream) {
  Transfers transfers(stream);
  void* pinned = nullptr;
  absl::Status status = ToStatus(cudaMallocHost(&pinned, 3 * kHalfBytes), "cudaMallocHost");
  if (!status.ok()) return status;
  transfers.pinned_ = static_cast<std::byte*>(pinned);
  for (cudaEvent_t& event : transfers.left_half_) {
    status.Update(ToStatus(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags"));
  }
  if (!status.ok()) return status;
  return transfers;
}

Transfers::Transfers(Transfers&& other) noexcept
    : stream_(other.stream_),
      pinned_(std::exchange(other.pinned_, nullptr)),
      left_half_(std::exchange(other.left_half_, {})),
      half_(other.half_),
      used_(other.used_) {}

Transfers::~Transfers() {
  for (cudaEvent_t event : left_half_) {
    if (event != nullptr) (void)cudaEventDestroy(event);
  }
  if (pinned_ != nullptr) (void)cudaFreeHost(pinned_);
}

absl::Status Transfers::EnterHalf(int half) {
  absl::Status status = ToStatus(cudaEventRecord(left_half_[half_], stream_), "cudaEventRecord");
  half_ = half;
  used_ = 0;
  // An event that was never recorded counts as passed.
  status.Update(ToStatus(cudaEventSynchronize(left_half_[half]), "cudaEventSynchronize"));
  return status;
}

absl::Status Transfers::Upload(const void* host, size_t bytes, void* device) {
  const auto* from = static_cast<const std::byte*>(host);
  auto* to = static_cast<std::byte*>(device);
  while (bytes > 0) {
    const size_t part = std::min(bytes, kHalfBytes);
    if (used_ + part > kHalfBytes) {
      absl::Status status = EnterHalf(1 - half_);
      if (!status.ok()) return status;
    }
    std::byte* pinned = pinned_ + static_cast<size_t>(half_) * kHalfBytes + used_;
    std::memcpy(pinned, from, part);
    absl::Status status =
        ToStatus(cudaMemcpyAsync(to, pinned, part, cudaMemcpyHostToDevice, stream_), "copy to the GPU");
    if (!status.ok()) return status;
    used_ = std::min(AlignedBytes(used_ + part), kHalfBytes);
    from += part;
    to += part;
    bytes -= part;
  }
  return absl::OkStatus();
}

absl::Status Transfers::Download(const void* device, size_t bytes, void* host) {
  const auto* from = static_cast<const std::byte*>(device);
  auto* to = static_cast<std::byte*>(host);
  std::byte* pinned = pinned_ + 2 * kHalfBytes;
  while (bytes > 0) {
    const size_t part = std::min(bytes, kHalfBytes);
    absl::Status status =
        ToStatus(cudaMemcpyAsync(pinned, from, part, cudaMemcpyDeviceToHost, stream_), "copy from the GPU");
    status.Update(ToStatus(cudaStreamSynchronize(stream_), "copy from the GPU"));
    if (!status.ok()) return status;
    std::memcpy(to, pinned, part);
    from += part;
    to += part;
    bytes -= part;
  }
  return absl::OkStatus();
}

}  // namespace switchyard::cuda
