#include "kernels/cuda/copy_streams.h"

#include "kernels/cuda/status.h"

namespace switchyard::cuda {

CopyStreams::~CopyStreams() {
  for (cudaStream_t stream : idle_) (void)cudaStreamDestroy(stream);
}

absl::Status CopyStreams::Acquire(cudaStream_t* stream) {
  {
    const std::lock_guard lock(mu_);
    if (!idle_.empty()) {
      *stream = idle_.back();
      idle_.pop_back();
      return absl::OkStatus();
    }
  }
  return ToStatus(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

absl::Status CopyStreams::Copy(const void* host, size_t bytes, void* device_data) {
  absl::Status status = ToStatus(cudaSetDevice(device_), "cudaSetDevice");
  if (!status.ok()) return status;
  cudaStream_t stream = nullptr;
  status = Acquire(&stream);
  if (!status.ok()) return status;
  status = ToStatus(cudaMemcpyAsync(device_data, host, bytes, cudaMemcpyHostToDevice, stream), "copy of weights");
  if (status.ok()) status = ToStatus(cudaStreamSynchronize(stream), "copy of weights");
  const std::lock_guard lock(mu_);
  idle_.push_back(stream);
  return status;
}

}  // namespace switchyard::cuda
