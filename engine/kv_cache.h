// The memory behind KV pages, one pair of tensors per layer on one rank.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace switchyard {

struct KvCacheShape {
  int64_t num_layers = 0;
  int64_t num_pages = 0;
  int64_t num_kv_heads = 0;  // on this rank
  int64_t page_size = 0;     // tokens
  int64_t head_dim = 0;
  DType dtype = DType::kFloat32;  // activations', or kFloat8E4M3 or kInt8 (KvPages)

  bool has_scales() const { return dtype == DType::kFloat8E4M3 || dtype == DType::kInt8; }
  // Of one page in one layer: the elements of its keys, and their scales. Its values take as much again.
  int64_t ElementBytesPerPage() const;
  int64_t ScaleBytesPerPage() const;
  // Keys and values of one page in all layers.
  int64_t BytesPerPage() const;
};

class KvCache {
 public:
  static absl::StatusOr<KvCache> Create(const KvCacheShape& shape, Backend& backend);

  KvPages layer(int64_t index);

 private:
  struct Layer {
    Tensor k;  // [num_pages, num_kv_heads, page_size, head_dim]
    Tensor v;
    Tensor k_scales;  // float32 [num_pages, num_kv_heads, page_size], or none
    Tensor v_scales;
  };

  std::vector<Layer> layers_;
};

}  // namespace switchyard
