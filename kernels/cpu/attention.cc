#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/block_softmax-inl.h"
#include "kernels/cpu/kv_block-inl.h"
#include "kernels/cpu/vector_util-inl.h"

#ifndef SWITCHYARD_KERNELS_CPU_ATTENTION_SIZES_
#define SWITCHYARD_KERNELS_CPU_ATTENTION_SIZES_
namespace switchyard {

inline constexpr int64_t kSoftmaxFloats = 48;  // that a group of queries keeps: three vectors at most

// Groups of query heads that share the loads of a key.
inline int64_t NumQueryGroups(int64_t queries) { return (queries + kBlockQueries - 1) / kBlockQueries; }

}  // namespace switchyard
#endif  // SWITCHYARD_KERNELS_CPU_ATTENTION_SIZES_

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// Keys whose scores come out of the registers together.
constexpr size_t kScoredKeys = kFoldedVectors / kBlockQueries;
// Of the output, beside all queries' sums of them: 32 registers with AVX-512, 16 elsewhere.
constexpr size_t kMixedVectors = HWY_MAX_BYTES >= 64 ? 4 : 2;

// scores [keys][kBlockQueries]: q[i] . key[j]; q [kUsed, head_dim]. Meanwhile the keys of `next` begin to come.
template <size_t kUsed, typename Element>
void Score(const float* HWY_RESTRICT q, const KvBlock<Element>& keys, const KvBlock<Element>& next, size_t head_dim,
           float* HWY_RESTRICT scores) {
  const Floats d;
  const size_t whole = head_dim - head_dim % kLanes;
  for (size_t j = 0; j < keys.num_rows; j += kScoredKeys) {
    Vector sums[kFoldedVectors];
    Unroll<kFoldedVectors>([&](auto n) SWITCHYARD_INLINE_LAMBDA { sums[n] = hn::Zero(d); });
    Unroll<kScoredKeys>([&](auto k) SWITCHYARD_INLINE_LAMBDA { next.Prefetch(j + k, head_dim); });
    for (size_t x = 0; x < whole; x += kLanes) {
      Vector query[kUsed];
      Unroll<kUsed>([&](auto i) SWITCHYARD_INLINE_LAMBDA { query[i] = hn::LoadU(d, q + i * head_dim + x); });
      Unroll<kScoredKeys>([&](auto k) SWITCHYARD_INLINE_LAMBDA {
        const Vector key = LoadElements(d, keys.row[j + k] + x);
        Unroll<kUsed>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
          constexpr size_t kSum = k * kBlockQueries + i;
          sums[kSum] = hn::MulAdd(query[i], key, sums[kSum]);
        });
      });
    }
    StoreFolded<BySum>(d, sums, scores + j * kBlockQueries);
    for (size_t x = whole; x < head_dim; ++x) {
      for (size_t n = 0; n < kScoredKeys * kBlockQueries; ++n) {
        const size_t i = n % kBlockQueries;
        if (i >= kUsed) continue;
        scores[j * kBlockQueries + n] += q[i * head_dim + x] * LoadElement(keys.row[j + n / kBlockQueries] + x);
      }
    }
  }
  keys.Scale(scores);
}

// out[i] = out[i] * keep[i] + sum over j of weights[j][i] * value[j]; out [kUsed, head_dim]. Weights get the values'
// scales. Meanwhile the values of `next` begin to come.
template <size_t kUsed, typename Element>
void Mix(float* HWY_RESTRICT weights, const float* HWY_RESTRICT keep, const KvBlock<Element>& values,
         const KvBlock<Element>& next, size_t head_dim, float* HWY_RESTRICT out) {
  values.Scale(weights);
  const Floats d;
  const auto mix_columns = [&](auto vectors, size_t x) SWITCHYARD_INLINE_LAMBDA {
    constexpr size_t kVectors = decltype(vectors)::value;
    Vector sums[kUsed * kVectors];
    Unroll<kUsed * kVectors>([&](auto n) SWITCHYARD_INLINE_LAMBDA {
      constexpr size_t kQuery = n / kVectors;
      constexpr size_t kVector = n % kVectors;
      sums[n] = hn::Mul(hn::LoadU(d, out + kQuery * head_dim + x + kVector * kLanes), hn::Set(d, keep[kQuery]));
    });
    for (size_t j = 0; j < values.num_rows; ++j) {
      if (x == 0) next.Prefetch(j, head_dim);
      Vector value[kVectors];
      Unroll<kVectors>([&](auto v)
                           SWITCHYARD_INLINE_LAMBDA { value[v] = LoadElements(d, values.row[j] + x + v * kLanes); });
      Unroll<kUsed>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
        const Vector weight = hn::Set(d, weights[j * kBlockQueries + i]);
        Unroll<kVectors>([&](auto v) SWITCHYARD_INLINE_LAMBDA {
          sums[i * kVectors + v] = hn::MulAdd(weight, value[v], sums[i * kVectors + v]);
        });
      });
    }
    Unroll<kUsed * kVectors>([&](auto n) SWITCHYARD_INLINE_LAMBDA {
      constexpr size_t kQuery = n / kVectors;
      constexpr size_t kVector = n % kVectors;
      hn::StoreU(sums[n], d, out + kQuery * head_dim + x + kVector * kLanes);
    });
  };
  constexpr size_t kColumns = kMixedVectors * kLanes;
  size_t x = 0;
  for (; x + kColumns <= head_dim; x += kColumns) mix_columns(std::integral_constant<size_t, kMixedVectors>(), x);
  for (; x + kLanes <= head_dim; x += kLanes) mix_columns(std::integral_constant<size_t, 1>(), x);
  for (; x < head_dim; ++x) {
    for (size_t i = 0; i < kUsed; ++i) {
      float sum = out[i * head_dim + x] * keep[i];
      for (size_t j = 0; j < values.num_rows; ++j) {
        sum += weights[j * kBlockQueries + i] * LoadElement(values.row[j] + x);
      }
      out[i * head_dim + x] = sum;
    }
  }
}

// One block of keys and values for kUsed queries.
template <size_t kUsed, typename Element>
void AttendBlock(const AttentionTask& task, const float* q, const KvPair<Element>& block, const KvPair<Element>& next,
                 BlockSoftmax& softmax, float* out) {
  HWY_ALIGN float weights[kBlockKeys * kBlockQueries];
  Score<kUsed>(q, block.keys, next.keys, task.head_dim, weights);
  softmax.Weigh(task.scale, block.keys.num_rows, weights);
  Mix<kUsed>(weights, softmax.keep(), block.values, next.values, task.head_dim, out);
}

// The blocks of a task in their order. Those of all heads at a position follow each other, as they do in memory.
class BlockOrder {
 public:
  explicit BlockOrder(const AttentionTask& task) : task_(task), begin_(task.first) { SetEnd(); }

  bool AtEnd() const { return begin_ > task_.last; }
  int64_t head() const { return head_; }
  // An empty block at the end.
  template <typename Element>
  void Load(const KvRows& keys, const KvRows& values, KvPair<Element>& block) const {
    block.keys.Set(keys, task_.sequence, task_.kv_head + head_, begin_, end_);
    block.values.Set(values, task_.sequence, task_.kv_head + head_, begin_, end_);
  }
  void Next() {
    if (++head_ < task_.kv_heads) return;
    head_ = 0;
    begin_ = end_;
    SetEnd();
  }

 private:
  void SetEnd() { end_ = std::max(begin_, std::min(task_.last + 1, begin_ - begin_ % kBlockKeys + kBlockKeys)); }

  const AttentionTask& task_;
  int64_t begin_;
  int64_t end_ = 0;
  int64_t head_ = 0;
};

template <typename Element>
void AttendElements(const AttentionTask& task, const KvRows& keys, const KvRows& values, float* scratch) {
  static_assert(sizeof(BlockSoftmax) <= kSoftmaxFloats * sizeof(float));
  const int64_t groups = NumQueryGroups(task.queries);
  auto* softmaxes = reinterpret_cast<BlockSoftmax*>(scratch);  // [kv_heads, groups]
  for (int64_t i = 0; i < task.kv_heads * groups; ++i) new (softmaxes + i) BlockSoftmax;
  std::fill_n(task.out, task.kv_heads * task.queries * task.head_dim, 0.0f);
  const KvPair<Element> nothing = {};
  KvPair<Element> blocks[2] = {};  // the current one, and the one that comes meanwhile
  BlockOrder order(task);
  order.Load(keys, values, blocks[0]);
  for (size_t now = 0; !order.AtEnd(); now ^= 1) {
    const int64_t head = order.head();
    order.Next();
    order.Load(keys, values, blocks[now ^ 1]);
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t query = group * kBlockQueries;
      const int64_t row = (head * task.queries + query) * task.head_dim;
      WithConstant<kBlockQueries>(task.queries - query, [&](auto used) SWITCHYARD_INLINE_LAMBDA {
        AttendBlock<used>(task, task.q + row, blocks[now], group == 0 ? blocks[now ^ 1] : nothing,
                          softmaxes[head * groups + group], task.out + row);
      });
    }
  }
  for (int64_t row = 0; row < task.kv_heads * task.queries; ++row) {
    const int64_t query = row % task.queries;
    const BlockSoftmax& softmax = softmaxes[row / task.queries * groups + query / kBlockQueries];
    task.sums[row] = {softmax.largest(query % kBlockQueries), softmax.total(query % kBlockQueries)};
  }
}

void Attend(const AttentionTask& task, const KvRows& keys, const KvRows& values, float* scratch) {
  DispatchKvElement(keys.dtype(), [&](auto type) { AttendElements<decltype(type)>(task, keys, values, scratch); });
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Attend);

int64_t AttentionScratch(int64_t kv_heads, int64_t queries) {
  return kv_heads * NumQueryGroups(queries) * kSoftmaxFloats;
}

void AttendPart(const AttentionTask& task, const KvRows& keys, const KvRows& values, float* scratch) {
  HWY_DYNAMIC_DISPATCH(Attend)(task, keys, values, scratch);
}

void MergeAttention(const float* part, const SoftmaxSums& part_sums, int64_t head_dim, float* out, SoftmaxSums& sums) {
  const float largest = std::max(sums.largest, part_sums.largest);
  const float keep = std::exp(sums.largest - largest);
  const float take = std::exp(part_sums.largest - largest);
  for (int64_t x = 0; x < head_dim; ++x) out[x] = out[x] * keep + part[x] * take;
  sums = {largest, sums.total * keep + part_sums.total * take};
}

void FinishAttention(const SoftmaxSums& sums, int64_t head_dim, float* out) {
  const float inverse = 1.0f / sums.total;
  for (int64_t x = 0; x < head_dim; ++x) out[x] *= inverse;
}

}  // namespace switchyard
#endif  // HWY_ONCE
