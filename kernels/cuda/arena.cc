#include "kernels/cuda/arena.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/status.h"

namespace switchyard::cuda {
namespace {

absl::StatusOr<std::byte*> AllocateZeroed(size_t bytes) {
  void* data = nullptr;
  absl::Status status = ToStatus(cudaMalloc(&data, bytes), "cudaMalloc");
  if (absl::IsResourceExhausted(status)) {
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    status.Update(ToStatus(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo"));
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes on the GPU: ", free_bytes,
                                                     " of its ", total_bytes,
                                                     " bytes are free; end other programs that use it"));
  }
  if (!status.ok()) return status;
  status = ToStatus(cudaMemset(data, 0, bytes), "cudaMemset");
  // Streams of the backend do not wait for the default stream.
  if (status.ok()) status = ToStatus(cudaStreamSynchronize(nullptr), "cudaMemset");
  if (!status.ok()) return status;
  return static_cast<std::byte*>(data);
}

}  // namespace

absl::StatusOr<Arena> Arena::Create(size_t bytes) {
  if (bytes == 0) return Arena(nullptr, 0);
  absl::StatusOr<std::byte*> data = AllocateZeroed(bytes);
  if (!data.ok()) return data.status();
  return Arena(*data, bytes);
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      used_(other.used_),
      single_(std::move(other.single_)) {}

Arena::~Arena() {
  for (void* data : single_) (void)cudaFree(data);
  if (data_ != nullptr) (void)cudaFree(data_);
}

absl::StatusOr<Buffer> Arena::Allocate(size_t bytes) {
  const size_t taken = AlignedBytes(bytes);
  if (used_ + taken <= bytes_) {
    std::byte* data = data_ + used_;
    used_ += taken;
    return Buffer(data, bytes, [](void*) {});
  }
  absl::StatusOr<std::byte*> data = AllocateZeroed(std::max<size_t>(taken, 1));
  if (!data.ok()) return data.status();
  single_.push_back(*data);
  return Buffer(*data, bytes, [](void*) {});
}

}  // namespace switchyard::cuda
