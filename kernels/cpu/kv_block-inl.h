// The rows of a block of positions on one KV head, compiled once for each instruction set by the file that includes
// this one. No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_KV_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_KV_BLOCK_INL_H_
#undef SWITCHYARD_KERNELS_CPU_KV_BLOCK_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_KV_BLOCK_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/cpu/kv_elements-inl.h"
#include "kernels/cpu/kv_rows.h"

#ifndef SWITCHYARD_KERNELS_CPU_KV_BLOCK_SIZES_
#define SWITCHYARD_KERNELS_CPU_KV_BLOCK_SIZES_
namespace switchyard {

inline constexpr int64_t kBlockKeys = 16;    // a multiple of every vector's lanes; of a page by default
inline constexpr int64_t kBlockQueries = 4;  // query heads that share the loads of a key

}  // namespace switchyard
#endif  // SWITCHYARD_KERNELS_CPU_KV_BLOCK_SIZES_

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

// Pages may change between any two rows.
template <typename Element>
struct KvBlock {
  static constexpr bool kHasScales = !std::is_same_v<Element, float>;

  size_t num_rows = 0;
  const Element* row[kBlockKeys];  // behind the last one: that one again, which any vector of rows may read
  // Of LoadElements' numbers, once for each query; unused where elements have none.
  HWY_ALIGN float scale[kBlockKeys][kBlockQueries];

  // Positions [begin, end), kBlockKeys at most.
  void Set(const KvRows& rows, int64_t sequence, int64_t kv_head, int64_t begin, int64_t end) {
    num_rows = static_cast<size_t>(end - begin);
    for (int64_t p = begin; p < end;) {
      int64_t index = rows.At(sequence, kv_head, p);
      const int64_t run_end = std::min(end, p - p % rows.page_size() + rows.page_size());
      for (; p < run_end; ++index, ++p) {
        row[p - begin] = rows.Elements<Element>(index);
        if constexpr (kHasScales)
          std::fill_n(scale[p - begin], kBlockQueries, rows.scale(index) * kElementUnit<Element>);
      }
    }
    if (num_rows == 0) return;
    std::fill(row + num_rows, row + kBlockKeys, row[num_rows - 1]);
    if constexpr (kHasScales) std::fill(scale[num_rows], scale[kBlockKeys], 1.0f);
  }

  // Row j, if there is one.
  HWY_INLINE void Prefetch(size_t j, size_t head_dim) const {
    if (j < num_rows) PrefetchRow(row[j], head_dim);
  }

  // factors [kBlockKeys][kBlockQueries], those of row j *= its scale.
  HWY_INLINE void Scale(float* HWY_RESTRICT factors) const {
    if constexpr (kHasScales) {
      const hn::ScalableTag<float> d;
      for (size_t x = 0; x < num_rows * kBlockQueries; x += hn::Lanes(d)) {
        hn::Store(hn::Mul(hn::Load(d, factors + x), hn::Load(d, &scale[0][0] + x)), d, factors + x);
      }
    }
  }
};

template <typename Element>
struct KvPair {
  KvBlock<Element> keys, values;
};

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
