#include "engine/kv_cache.h"

#include <utility>

namespace switchyard {

int64_t KvCacheShape::ElementBytesPerPage() const {
  return num_kv_heads * page_size * head_dim * static_cast<int64_t>(SizeOf(dtype));
}

int64_t KvCacheShape::ScaleBytesPerPage() const {
  return has_scales() ? num_kv_heads * page_size * static_cast<int64_t>(sizeof(float)) : 0;
}

int64_t KvCacheShape::BytesPerPage() const { return 2 * num_layers * (ElementBytesPerPage() + ScaleBytesPerPage()); }

absl::StatusOr<KvCache> KvCache::Create(const KvCacheShape& shape, Backend& backend) {
  KvCache cache;
  const Shape pages = {shape.num_pages, shape.num_kv_heads, shape.page_size, shape.head_dim};
  const Shape scales = {shape.num_pages, shape.num_kv_heads, shape.page_size};
  const auto allocate = [&backend](DType dtype, const Shape& of, Tensor& tensor) {
    absl::StatusOr<Tensor> allocated = backend.AllocateTensor(dtype, of);
    if (!allocated.ok()) return allocated.status();
    tensor = *std::move(allocated);
    return absl::OkStatus();
  };
  for (int64_t i = 0; i < shape.num_layers; ++i) {
    Layer& layer = cache.layers_.emplace_back();
    absl::Status status = allocate(shape.dtype, pages, layer.k);
    if (status.ok()) status = allocate(shape.dtype, pages, layer.v);
    if (status.ok() && shape.has_scales()) status = allocate(DType::kFloat32, scales, layer.k_scales);
    if (status.ok() && shape.has_scales()) status = allocate(DType::kFloat32, scales, layer.v_scales);
    if (!status.ok()) return status;
  }
  return cache;
}

KvPages KvCache::layer(int64_t index) {
  Layer& layer = layers_[static_cast<size_t>(index)];
  return {
      .k = layer.k.view(), .v = layer.v.view(), .k_scales = layer.k_scales.view(), .v_scales = layer.v_scales.view()};
}

}  // namespace switchyard
