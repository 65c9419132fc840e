#include "bench/gpu_inputs.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/fill.h"
#include "kernels/cuda/status.h"

namespace switchyard {

GpuInputs::~GpuInputs() {
  (void)cudaStreamSynchronize(stream_);
  for (void* block : blocks_) (void)cudaFree(block);
}

void* GpuInputs::Allocate(size_t bytes) {
  if (!status_.ok()) return nullptr;
  void* block = nullptr;
  const cudaError_t error = cudaMalloc(&block, std::max<size_t>(1, bytes));
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    status_ = absl::ResourceExhaustedError(
        absl::StrCat("needs more than ", (bytes_ + bytes) >> 20, " MiB of memory on the GPU"));
    return nullptr;
  }
  status_ = cuda::ToStatus(error, "cudaMalloc");
  if (!status_.ok()) return nullptr;
  blocks_.push_back(block);
  bytes_ += bytes;
  return block;
}

void* GpuInputs::Bytes(size_t bytes, int byte) {
  void* block = Allocate(bytes);
  if (block != nullptr) status_ = cuda::ToStatus(cudaMemsetAsync(block, byte, bytes, stream_), "cudaMemsetAsync");
  return block;
}

void* GpuInputs::RandomHalves(DType dtype, int64_t count, float deviation) {
  void* block = Allocate(static_cast<size_t>(count) * SizeOf(dtype));
  if (block != nullptr) cuda::FillRandom(dtype, block, count, seed_++, deviation, stream_);
  return block;
}

float* GpuInputs::RandomFloats(int64_t count, float deviation) {
  constexpr int64_t kTile = int64_t{1} << 20;
  auto* block = static_cast<float*>(Allocate(static_cast<size_t>(count) * sizeof(float)));
  if (block == nullptr) return nullptr;
  std::mt19937 random(static_cast<uint32_t>(seed_++));
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> tile(static_cast<size_t>(std::min(count, kTile)));
  for (float& value : tile) value = normal(random);
  for (int64_t done = 0; done < count && status_.ok(); done += kTile) {
    const auto bytes = static_cast<size_t>(std::min(kTile, count - done)) * sizeof(float);
    status_ = cuda::ToStatus(cudaMemcpyAsync(block + done, tile.data(), bytes, cudaMemcpyHostToDevice, stream_),
                             "cudaMemcpyAsync");
  }
  status_.Update(cuda::ToStatus(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"));
  return block;
}

void* GpuInputs::UploadBytes(const void* values, size_t bytes) {
  void* block = Allocate(bytes);
  if (block == nullptr) return nullptr;
  status_ = cuda::ToStatus(cudaMemcpyAsync(block, values, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
  status_.Update(cuda::ToStatus(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"));
  return block;
}

}  // namespace switchyard
