// Device memory of one benchmark case: random inputs, index lists, and room for outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard {

// Freed with this object. The first failure (RESOURCE_EXHAUSTED with the size, where memory runs out) is kept, and
// every later call then returns null and does nothing: check status() once, before pointers are used.
class GpuInputs {
 public:
  explicit GpuInputs(cuda::Stream stream) : stream_(stream) {}
  GpuInputs(const GpuInputs&) = delete;
  ~GpuInputs();

  // `byte` everywhere; 0xFF is NaN in every float type.
  void* Bytes(size_t bytes, int byte = 0xFF);
  template <typename T>
  T* Uninitialized(int64_t count) {
    return static_cast<T*>(Bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  // Normal numbers of kBFloat16 or kFloat16.
  void* RandomHalves(DType dtype, int64_t count, float deviation = 1.0f);
  // Normal numbers, repeated after the first million.
  float* RandomFloats(int64_t count, float deviation = 1.0f);
  template <typename T>
  T* Upload(const std::vector<T>& values) {
    return static_cast<T*>(UploadBytes(values.data(), values.size() * sizeof(T)));
  }

  const absl::Status& status() const { return status_; }

 private:
  void* Allocate(size_t bytes);
  void* UploadBytes(const void* values, size_t bytes);

  const cuda::Stream stream_;
  absl::Status status_;
  std::vector<void*> blocks_;
  size_t bytes_ = 0;   // of all blocks
  uint64_t seed_ = 1;  // of the next random numbers
};

}  // namespace switchyard
