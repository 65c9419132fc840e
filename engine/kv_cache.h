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
  DType dtype = DType::kFloat32;

  // Keys and values of one page in all layers.
  int64_t BytesPerPage() const;
};

class KvCache {
 public:
  static absl::StatusOr<KvCache> Create(const KvCacheShape& shape, Backend& backend);

  KvPages layer(int64_t index);

 private:
  std::vector<Tensor> k_;  // [layers] of [num_pages, num_kv_heads, page_size, head_dim]
  std::vector<Tensor> v_;
};

}  // namespace switchyard
