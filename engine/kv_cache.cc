#include "engine/kv_cache.h"

#include <utility>

namespace switchyard {

int64_t KvCacheShape::BytesPerPage() const {
  return 2 * num_layers * num_kv_heads * page_size * head_dim * static_cast<int64_t>(SizeOf(dtype));
}

absl::StatusOr<KvCache> KvCache::Create(const KvCacheShape& shape, Backend& backend) {
  KvCache cache;
  const Shape pages = {shape.num_pages, shape.num_kv_heads, shape.page_size, shape.head_dim};
  for (int64_t i = 0; i < shape.num_layers; ++i) {
    for (std::vector<Tensor>* tensors : {&cache.k_, &cache.v_}) {
      absl::StatusOr<Tensor> tensor = backend.AllocateTensor(shape.dtype, pages);
      if (!tensor.ok()) return tensor.status();
      tensors->push_back(*std::move(tensor));
    }
  }
  return cache;
}

KvPages KvCache::layer(int64_t index) { return {.k = k_[index].view(), .v = v_[index].view()}; }

}  // namespace switchyard
