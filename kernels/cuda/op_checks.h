// The shapes and types that backend.h promises, checked once at the edge of every CUDA operation; a violation aborts.
#pragma once

#include <optional>

#include "kernels/backend.h"

namespace switchyard::cuda {

// Constraints of the kernels beyond backend.h: rows start at multiples of 16 bytes.
inline void CheckType(ConstTensorView tensor, DType dtype) { CHECK(tensor.dtype() == dtype); }

inline void CheckIndex(const AttentionIndex& index, int64_t tokens) {
  for (const ConstTensorView* tensor :
       {&index.positions, &index.token_sequence, &index.sequence_begin, &index.page_table}) {
    CheckType(*tensor, DType::kInt32);
  }
  CHECK_EQ(index.positions.num_elements(), tokens);
  CHECK_EQ(index.token_sequence.num_elements(), tokens);
  CHECK_EQ(index.page_table.shape().rank(), 2);
  CHECK_EQ(index.sequence_begin.num_elements(), index.page_table.dim(0) + 1);
}

// The element type of quantised pages; none: `dtype`, that of activations.
inline std::optional<DType> CheckPages(const AttentionSpec& attention, const KvPages& pages, DType dtype) {
  CheckType(pages.v, pages.k.dtype());
  CHECK(pages.k.shape() == pages.v.shape());
  CHECK_EQ(pages.k.dim(1), attention.num_kv_heads);
  CHECK_EQ(pages.k.dim(3), attention.head_dim);
  if (pages.k.dtype() == dtype) return std::nullopt;
  CHECK(pages.k.dtype() == DType::kFloat8E4M3 || pages.k.dtype() == DType::kInt8);
  for (const TensorView* scales : {&pages.k_scales, &pages.v_scales}) {
    CheckType(*scales, DType::kFloat32);
    CHECK(scales->shape() == (Shape{pages.k.dim(0), pages.k.dim(1), pages.k.dim(2)}));
  }
  return pages.k.dtype();
}

}  // namespace switchyard::cuda
