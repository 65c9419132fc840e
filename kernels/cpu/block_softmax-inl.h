// The online softmax of a block of keys, compiled once for each instruction set by the file that includes this one.
// No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_BLOCK_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_BLOCK_SOFTMAX_INL_H_
#undef SWITCHYARD_KERNELS_CPU_BLOCK_SOFTMAX_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_BLOCK_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "hwy/highway.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/cpu/kv_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr size_t kLanes = hn::MaxLanes(hn::ScalableTag<float>());

// The online softmax of up to kBlockQueries queries. A vector of scores holds those of several keys, query by query;
// where it has fewer lanes than there are queries, so many vectors hold those of one key.
class BlockSoftmax {
 public:
  BlockSoftmax() {
    std::fill_n(largest_, kWidth, -std::numeric_limits<float>::infinity());
    std::fill_n(total_, kWidth, 0.0f);
  }

  // scores [num_keys][kBlockQueries], to weights in place; 0 up to a whole vector behind. A score that is NaN makes its
  // query's total NaN, and with it all that the query still becomes.
  HWY_INLINE void Weigh(float scale, size_t num_keys, float* HWY_RESTRICT scores) {
    const Floats d;
    const size_t count = num_keys * kBlockQueries;
    const size_t whole = (count + kWidth - 1) / kWidth * kWidth;
    std::fill(scores + count, scores + whole, -std::numeric_limits<float>::infinity());
    for (size_t lane = 0; lane < kWidth; lane += kLanes) {
      const Vector factor = hn::Set(d, scale);
      const Vector old = hn::Load(d, largest_ + lane);
      auto largest = old;
      for (size_t x = lane; x < whole; x += kWidth) {
        const Vector score = hn::Mul(hn::Load(d, scores + x), factor);
        hn::Store(score, d, scores + x);
        largest = hn::Max(score, largest);  // of a NaN and a number the latter
      }
      largest = MaxOfKeys(largest);
      auto sum = hn::Zero(d);
      for (size_t x = lane; x < whole; x += kWidth) {
        const Vector weight = ExpOrNaN(d, hn::Sub(hn::Load(d, scores + x), largest));
        hn::Store(weight, d, scores + x);
        sum = hn::Add(sum, weight);
      }
      const Vector keep = ExpOrNaN(d, hn::Sub(old, largest));
      hn::Store(keep, d, keep_ + lane);
      hn::Store(hn::MulAdd(hn::Load(d, total_ + lane), keep, sum), d, total_ + lane);
      hn::Store(largest, d, largest_ + lane);
    }
  }

  // [kBlockQueries]: what was summed before the last Weigh is worth now.
  const float* keep() const { return keep_; }
  float largest(size_t query) const { return largest_[query]; }
  float total(size_t query) const {
    float sum = 0;
    for (size_t lane = query; lane < kWidth; lane += kBlockQueries) sum += total_[lane];
    return sum;
  }

 private:
  using Floats = hn::ScalableTag<float>;
  using Vector = hn::Vec<Floats>;
  static constexpr size_t kWidth = HWY_MAX(kLanes, kBlockQueries);

  // Each lane: the largest of all lanes of its query.
  static HWY_INLINE Vector MaxOfKeys(Vector v) {
#if HWY_TARGET != HWY_SCALAR
    const Floats d;
    if constexpr (kLanes >= 8) v = hn::Max(v, hn::ConcatLowerUpper(d, v, v));
    if constexpr (kLanes >= 16) v = hn::Max(v, hn::SwapAdjacentBlocks(v));
#endif
    return v;
  }

  HWY_ALIGN float largest_[kWidth];
  HWY_ALIGN float total_[kWidth];  // of each lane's own keys
  HWY_ALIGN float keep_[kWidth];
};

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
