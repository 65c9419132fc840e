// Device memory for tests of kernels, on a GPU and in emulation alike.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

inline void CheckCuda(cudaError_t error) { CHECK_EQ(std::string(cudaGetErrorString(error)), "no error"); }

// The stream that tests launch on; lives as long as the process.
inline Stream TestStream() {
  static const Stream stream = [] {
    cudaStream_t created = nullptr;
    CheckCuda(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
    return created;
  }();
  return stream;
}

// Waits for TestStream(); dies of any error since the last call, failed launches included.
inline void SynchronizeTestStream() {
  CheckCuda(cudaStreamSynchronize(TestStream()));
  CheckCuda(TakeLaunchFailure());
}

// An array on the device. Its memory begins as 0xFF bytes (NaN in every float type) unless values are given, so that
// what a kernel leaves unwritten shows.
template <typename T>
class DeviceVector {
 public:
  static_assert(std::is_trivially_copyable_v<T>);

  DeviceVector() = default;
  explicit DeviceVector(size_t size) : size_(size) {
    if (size == 0) return;
    void* memory = nullptr;
    CheckCuda(cudaMalloc(&memory, size * sizeof(T)));
    data_ = static_cast<T*>(memory);
    CheckCuda(cudaMemsetAsync(data_, 0xFF, size * sizeof(T), TestStream()));
  }
  explicit DeviceVector(const std::vector<T>& values) : DeviceVector(values.size()) {
    if (size_ == 0) return;
    CheckCuda(cudaMemcpyAsync(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, TestStream()));
    CheckCuda(cudaStreamSynchronize(TestStream()));
  }
  DeviceVector(DeviceVector&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceVector& operator=(DeviceVector&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceVector() { cudaFree(data_); }

  T* data() const { return data_; }  // null if empty
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

  // Waits for TestStream() first, and dies of any launch that failed.
  std::vector<T> ToHost() const {
    std::vector<T> values(size_);
    if (size_ > 0) CheckCuda(cudaMemcpyAsync(values.data(), data_, bytes(), cudaMemcpyDeviceToHost, TestStream()));
    SynchronizeTestStream();
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace switchyard::cuda
