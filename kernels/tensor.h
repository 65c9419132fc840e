// Tensors as the layers above see them: a borrowed pointer, an element type and a shape.
//
// A view never owns memory and never converts; `Buffer` (device.h) owns. Storage is dense and row-major.
// Views are values: copy them freely, across threads too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "kernels/check.h"

namespace switchyard {

enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16, kInt32, kUInt8, kInt8, kFloat8E4M3 };

// Bytes of one element.
size_t SizeOf(DType dtype);
// The name in safetensors' spelling: "F32", "BF16", "F16", "I32", "U8", "I8", "F8_E4M3".
const char* Name(DType dtype);

// Extents of up to four dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int i) const {
    DCHECK(i >= 0 && i < rank_);
    return dims_[i];
  }
  // Product of all extents; 1 for a scalar.
  int64_t num_elements() const;
  // The same shape with another outermost extent.
  Shape WithOuter(int64_t outer) const;
  std::string ToString() const;  // "[4, 128]"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> dims_ = {};
  int rank_ = 0;
};

template <typename T>
constexpr DType DTypeOf() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<U, int32_t>) return DType::kInt32;
  if constexpr (std::is_same_v<U, uint8_t>) return DType::kUInt8;
}

// `Void` is `void` for a writable view and `const void` for a read-only one.
template <typename Void>
class BasicTensorView {
 public:
  template <typename T>
  using Like = std::conditional_t<std::is_const_v<Void>, const T, T>;

  BasicTensorView() = default;
  BasicTensorView(Void* data, DType dtype, Shape shape) : data_(data), shape_(shape), dtype_(dtype) {}
  // A writable view is readable. A template, because a plain one would be the writable view's own copy constructor.
  template <typename Other>
  // NOLINTNEXTLINE(google-explicit-constructor): the conversion is to be implicit.
  requires(std::is_const_v<Void>&& std::is_same_v<Other, void>) BasicTensorView(const BasicTensorView<Other>& other)
      : data_(other.data()), shape_(other.shape()), dtype_(other.dtype()) {}
  template <typename T>
  static BasicTensorView Of(std::span<T> values) {
    return BasicTensorView(values.data(), DTypeOf<T>(), Shape{static_cast<int64_t>(values.size())});
  }
  template <typename T>
  static BasicTensorView Of(std::span<T> values, Shape shape) {
    CHECK_EQ(static_cast<int64_t>(values.size()), shape.num_elements());
    return BasicTensorView(values.data(), DTypeOf<T>(), shape);
  }

  Void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t num_elements() const { return shape_.num_elements(); }
  size_t bytes() const { return static_cast<size_t>(num_elements()) * SizeOf(dtype_); }
  // Elements of one row, that is of everything below the outermost dimension.
  int64_t row_elements() const { return dim(0) == 0 ? shape_.WithOuter(1).num_elements() : num_elements() / dim(0); }

  // Elements as `T`, which must be the element type.
  template <typename T>
  std::span<Like<T>> As() const {
    DCHECK(dtype_ == DTypeOf<T>());
    return {static_cast<Like<T>*>(data_), static_cast<size_t>(num_elements())};
  }
  // Rows [begin, end) of the outermost dimension.
  BasicTensorView Rows(int64_t begin, int64_t end) const {
    DCHECK(0 <= begin && begin <= end && end <= dim(0));
    using Byte = Like<std::byte>;
    const size_t offset = static_cast<size_t>(begin * row_elements()) * SizeOf(dtype_);
    return BasicTensorView(static_cast<Byte*>(data_) + offset, dtype_, shape_.WithOuter(end - begin));
  }
  BasicTensorView Reshape(Shape shape) const {
    DCHECK_EQ(shape.num_elements(), num_elements());
    return BasicTensorView(data_, dtype_, shape);
  }

 private:
  Void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kFloat32;
};

using TensorView = BasicTensorView<void>;
using ConstTensorView = BasicTensorView<const void>;

}  // namespace switchyard
