// Where memory lives and who frees it.
#pragma once

#include <cstddef>
#include <functional>
#include <utility>

#include "kernels/tensor.h"

namespace switchyard {

enum class DeviceKind { kCpu, kCuda };

// Owns one allocation on a device. Move-only; empty after a move. Must not outlive the Backend that made it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        release_(std::move(other.release_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_(data_);
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*)> release_;
};

// A Buffer seen as one tensor.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Buffer buffer, DType dtype, Shape shape) : buffer_(std::move(buffer)), dtype_(dtype), shape_(shape) {}

  TensorView view() { return TensorView(buffer_.data(), dtype_, shape_); }
  ConstTensorView view() const { return ConstTensorView(buffer_.data(), dtype_, shape_); }
  // The first `rows` rows: how a step uses a tensor that was allocated for the largest one.
  TensorView Top(int64_t rows) { return view().Rows(0, rows); }

 private:
  Buffer buffer_;
  DType dtype_ = DType::kFloat32;
  Shape shape_;
};

}  // namespace switchyard
