// Where the key or value of a position lies among the pages, and the plain conversion of its elements.
#pragma once

#include <cstdint>

#include "kernels/check.h"
#include "kernels/float8.h"
#include "kernels/tensor.h"

namespace switchyard {

// Rows [head_dim] of one page tensor, addressed by sequence, KV head and position. A value; borrows the tensors.
class KvRows {
 public:
  // pages float32, kFloat8E4M3 or kInt8 [num_pages, num_kv_heads, page_size, head_dim]; scales float32 [num_pages,
  // num_kv_heads, page_size], no data for float32 pages; page_table int32 [sequences, max_pages].
  KvRows(TensorView pages, TensorView scales, ConstTensorView page_table)
      : data_(pages.data()),
        scales_(static_cast<float*>(scales.data())),
        table_(page_table.As<int32_t>().data()),
        dtype_(pages.dtype()),
        max_pages_(page_table.dim(1)),
        num_pages_(pages.dim(0)),
        num_kv_heads_(pages.dim(1)),
        page_size_(pages.dim(2)),
        head_dim_(pages.dim(3)) {}

  DType dtype() const { return dtype_; }
  int64_t page_size() const { return page_size_; }
  int64_t head_dim() const { return head_dim_; }

  // The row of `position`; those of the following positions, up to the page's end, are the next.
  int64_t At(int64_t sequence, int64_t kv_head, int64_t position) const {
    const int64_t page_index = position / page_size_;
    CHECK(position >= 0 && page_index < max_pages_);
    const int64_t page = table_[sequence * max_pages_ + page_index];
    CHECK(page >= 0 && page < num_pages_);
    return (page * num_kv_heads_ + kv_head) * page_size_ + position % page_size_;
  }

  // Element: what dtype() says: float, Float8E4M3 or int8_t.
  template <typename Element>
  Element* Elements(int64_t row) const {
    return static_cast<Element*>(data_) + row * head_dim_;
  }
  // 8-bit elements only.
  float& scale(int64_t row) const { return scales_[row]; }

 private:
  void* data_;
  float* scales_;
  const int32_t* table_;
  DType dtype_;
  int64_t max_pages_;
  int64_t num_pages_;
  int64_t num_kv_heads_;
  int64_t page_size_;
  int64_t head_dim_;
};

// Calls `f` with a value of the element type that `dtype` names; any other dtype is a programmer's error.
template <typename F>
void DispatchKvElement(DType dtype, F&& f) {
  if (dtype == DType::kFloat8E4M3) {
    f(Float8E4M3{});
  } else if (dtype == DType::kInt8) {
    f(int8_t{});
  } else {
    CHECK(dtype == DType::kFloat32);
    f(float{});
  }
}

// values [head_dim]. Quantises as kv_scale.h says.
void WriteKvRow(const float* values, const KvRows& rows, int64_t row);
void ReadKvRow(const KvRows& rows, int64_t row, float* values);

}  // namespace switchyard
