// Where the key or value of a position lies among the pages.
#pragma once

#include <cstdint>

#include "kernels/check.h"
#include "kernels/tensor.h"

namespace switchyard {

// Rows [head_dim] of one page tensor, addressed by sequence, KV head and position. A value; borrows both tensors.
class KvRows {
 public:
  // pages float32 [num_pages, num_kv_heads, page_size, head_dim]; page_table int32 [sequences, max_pages].
  KvRows(TensorView pages, ConstTensorView page_table)
      : data_(pages.As<float>().data()),
        table_(page_table.As<int32_t>().data()),
        max_pages_(page_table.dim(1)),
        num_pages_(pages.dim(0)),
        num_kv_heads_(pages.dim(1)),
        page_size_(pages.dim(2)),
        head_dim_(pages.dim(3)) {}

  int64_t page_size() const { return page_size_; }

  // The row of `position`; the rows of the following positions, up to the page's end, lie behind it.
  float* At(int64_t sequence, int64_t kv_head, int64_t position) const {
    const int64_t page_index = position / page_size_;
    CHECK(position >= 0 && page_index < max_pages_);
    const int64_t page = table_[sequence * max_pages_ + page_index];
    CHECK(page >= 0 && page < num_pages_);
    return data_ + ((page * num_kv_heads_ + kv_head) * page_size_ + position % page_size_) * head_dim_;
  }

 private:
  float* data_;
  const int32_t* table_;
  int64_t max_pages_;
  int64_t num_pages_;
  int64_t num_kv_heads_;
  int64_t page_size_;
  int64_t head_dim_;
};

}  // namespace switchyard
