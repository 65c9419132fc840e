#include "bench/attention_cases.h"

#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace switchyard {
namespace {

constexpr AttentionSpec kSpec = {.num_heads = 16, .num_kv_heads = 4, .head_dim = 64, .scale = 0.125f};
constexpr int64_t kPageSize = 16;

struct KvCacheOfLayer {
  Tensor k, v, k_scales, v_scales;

  KvPages pages() { return {k.view(), v.view(), k_scales.view(), v_scales.view()}; }
};

Tensor Filled(Backend& backend, DType dtype, const Shape& shape) {
  Tensor tensor = *backend.AllocateTensor(dtype, shape);
  constexpr int kSmallNumbers = 0x3C;  // in every type
  std::memset(tensor.view().data(), kSmallNumbers, static_cast<size_t>(tensor.view().num_elements()) * SizeOf(dtype));
  return tensor;
}

KvCacheOfLayer MakeCache(Backend& backend, DType dtype, int64_t pages) {
  const int64_t scale_pages = dtype == DType::kFloat32 ? 0 : pages;
  const auto elements = [&] { return Filled(backend, dtype, {pages, kSpec.num_kv_heads, kPageSize, kSpec.head_dim}); };
  const auto scales = [&] { return Filled(backend, DType::kFloat32, {scale_pages, kSpec.num_kv_heads, kPageSize}); };
  return {elements(), elements(), scales(), scales()};
}

// The last `tokens` of a sequence of first + tokens.
void BenchTokens(Backend& backend, const KernelLimits& limits, DType dtype, int64_t tokens, int64_t first) {
  const int64_t context = first + tokens;
  const int64_t pages = (context + kPageSize - 1) / kPageSize;
  const size_t row_bytes = kSpec.head_dim * SizeOf(dtype) + (dtype == DType::kFloat32 ? 0 : sizeof(float));
  const double bytes = 2.0 * static_cast<double>(context * kSpec.num_kv_heads) * static_cast<double>(row_bytes);
  // Several, as of so many layers: no processor's cache holds them from one call to the next.
  std::vector<KvCacheOfLayer> caches(static_cast<size_t>(1 + 160e6 / bytes));
  for (KvCacheOfLayer& cache : caches) cache = MakeCache(backend, dtype, pages);
  Tensor q = FilledTensor(backend, {tokens, kSpec.num_heads, kSpec.head_dim});
  Tensor out = FilledTensor(backend, {tokens, kSpec.num_heads, kSpec.head_dim});
  std::vector<int32_t> positions(tokens), sequence(tokens, 0), begin = {0, static_cast<int32_t>(tokens)}, table(pages);
  for (int64_t i = 0; i < tokens; ++i) positions[i] = static_cast<int32_t>(first + i);
  for (int64_t i = 0; i < pages; ++i) table[i] = static_cast<int32_t>(i);
  const auto ints = [](std::vector<int32_t>& values) { return ConstTensorView::Of(std::span<const int32_t>(values)); };
  const AttentionIndex index{ints(positions), ints(sequence), ints(begin), ints(table).Reshape({1, pages}), context};
  size_t next = 0;
  const double seconds = BestSeconds([&] {
    backend.PagedAttention(kSpec, index, q.view(), caches[next].pages(), out.view());
    next = (next + 1) % caches.size();
  });
  const double seen = static_cast<double>(tokens) * static_cast<double>(first) + 0.5 * tokens * (tokens + 1);
  PrintKernel("attention " + std::string(Name(dtype)) + " 16/4 heads of 64, " + std::to_string(tokens) + " at " +
                  std::to_string(first),
              seconds, bytes, 4.0 * seen * kSpec.num_heads * kSpec.head_dim, limits);
}

}  // namespace

void BenchAttention(Backend& backend, const KernelLimits& limits) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat8E4M3, DType::kInt8}) {
    for (const int64_t context : {512, 4096, 32768}) BenchTokens(backend, limits, dtype, 1, context - 1);
  }
  for (const int64_t tokens : {8, 64, 512}) BenchTokens(backend, limits, DType::kFloat32, tokens, 2048);
  BenchTokens(backend, limits, DType::kFloat32, 512, 0);
}

}  // namespace switchyard
