#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/cpu/kv_elements-inl.h"
#include "kernels/cpu/vector_util-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

constexpr int64_t kBlock = 64;  // keys per step of the online softmax; a multiple of every vector's lanes
constexpr size_t kQueries = 4;  // query heads that share the loads of a key

// The rows of one block of positions; pages may change between any two.
template <typename Element>
struct RowPointers {
  static constexpr bool kHasScales = !std::is_same_v<Element, float>;

  const Element* row[kBlock];
  float scale[kBlock];  // of LoadElements' numbers; unused where elements have none

  void Set(const KvRows& rows, const AttentionTask& task, int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end;) {
      int64_t index = rows.At(task.sequence, task.kv_head, p);
      const int64_t run_end = std::min(end, p - p % rows.page_size() + rows.page_size());
      for (; p < run_end; ++index, ++p) {
        row[p - begin] = rows.Elements<Element>(index);
        if constexpr (kHasScales) scale[p - begin] = rows.scale(index) * kElementUnit<Element>;
      }
    }
  }

  // Brings the first rows on their way from memory: pages lie apart, where no hardware looks ahead.
  void Prefetch(size_t num_rows, size_t head_dim) const {
    constexpr size_t kLineBytes = 64;
    for (size_t j = 0; j < num_rows; ++j) {
      const auto* bytes = reinterpret_cast<const char*>(row[j]);
      for (size_t b = 0; b < head_dim * sizeof(Element); b += kLineBytes) __builtin_prefetch(bytes + b);
    }
  }

  // factors[j] *= the scale of row j.
  void Scale(size_t num_rows, float (*HWY_RESTRICT factors)[kQueries]) const {
    if constexpr (kHasScales) {
      for (size_t j = 0; j < num_rows; ++j) {
        for (size_t i = 0; i < kQueries; ++i) factors[j][i] *= scale[j];
      }
    }
  }
};

// scores[j][i] = q[i] . key[j]; q [kUsed, head_dim].
template <size_t kUsed, typename Element>
void Score(const float* HWY_RESTRICT q, const RowPointers<Element>& keys, size_t num_keys, size_t head_dim,
           float (*HWY_RESTRICT scores)[kQueries]) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = head_dim - head_dim % lanes;
  for (size_t j = 0; j < num_keys; ++j) {
    const Element* HWY_RESTRICT key = keys.row[j];
    Vector sums[kQueries];
    Unroll<kQueries>([&](auto i) SWITCHYARD_INLINE_LAMBDA { sums[i] = hn::Zero(d); });
    for (size_t x = 0; x < whole; x += lanes) {
      const Vector k = LoadElements(d, key + x);
      Unroll<kUsed>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
        sums[i] = hn::MulAdd(hn::LoadU(d, q + i * head_dim + x), k, sums[i]);
      });
    }
    SumFour(d, sums, scores[j]);
    for (size_t x = whole; x < head_dim; ++x) {
      for (size_t i = 0; i < kUsed; ++i) scores[j][i] += q[i * head_dim + x] * LoadElement(key + x);
    }
  }
  keys.Scale(num_keys, scores);
}

// out[i] = out[i] * keep[i] + sum over j of weights[j][i] * value[j]; out [kUsed, head_dim]. Weights get the values'
// scales.
template <size_t kUsed, typename Element>
void Mix(float (*HWY_RESTRICT weights)[kQueries], const float* HWY_RESTRICT keep, const RowPointers<Element>& values,
         size_t num_keys, size_t head_dim, float* HWY_RESTRICT out) {
  values.Scale(num_keys, weights);
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const auto mix_columns = [&](auto vectors, size_t x) SWITCHYARD_INLINE_LAMBDA {
    constexpr size_t kVectors = decltype(vectors)::value;
    Vector sums[kUsed * kVectors];
    Unroll<kUsed * kVectors>([&](auto n) SWITCHYARD_INLINE_LAMBDA {
      constexpr size_t kQuery = n / kVectors;
      constexpr size_t kVector = n % kVectors;
      sums[n] = hn::Mul(hn::LoadU(d, out + kQuery * head_dim + x + kVector * lanes), hn::Set(d, keep[kQuery]));
    });
    for (size_t j = 0; j < num_keys; ++j) {
      Vector value[kVectors];
      Unroll<kVectors>([&](auto v)
                           SWITCHYARD_INLINE_LAMBDA { value[v] = LoadElements(d, values.row[j] + x + v * lanes); });
      Unroll<kUsed>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
        const Vector weight = hn::Set(d, weights[j][i]);
        Unroll<kVectors>([&](auto v) SWITCHYARD_INLINE_LAMBDA {
          sums[i * kVectors + v] = hn::MulAdd(weight, value[v], sums[i * kVectors + v]);
        });
      });
    }
    Unroll<kUsed * kVectors>([&](auto n) SWITCHYARD_INLINE_LAMBDA {
      constexpr size_t kQuery = n / kVectors;
      constexpr size_t kVector = n % kVectors;
      hn::StoreU(sums[n], d, out + kQuery * head_dim + x + kVector * lanes);
    });
  };
  size_t x = 0;
  for (; x + 2 * lanes <= head_dim; x += 2 * lanes) mix_columns(std::integral_constant<size_t, 2>(), x);
  for (; x + lanes <= head_dim; x += lanes) mix_columns(std::integral_constant<size_t, 1>(), x);
  for (; x < head_dim; ++x) {
    for (size_t i = 0; i < kUsed; ++i) {
      float sum = out[i * head_dim + x] * keep[i];
      for (size_t j = 0; j < num_keys; ++j) sum += weights[j][i] * LoadElement(values.row[j] + x);
      out[i * head_dim + x] = sum;
    }
  }
}

// All positions for kUsed query heads.
template <size_t kUsed, typename Element>
void AttendQueries(const AttentionTask& task, const float* q, float* out, const KvRows& keys, const KvRows& values) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN float weights[kBlock][kQueries] = {};
  float largest[kQueries];
  float total[kQueries] = {};
  float keep[kQueries];
  std::fill_n(largest, kQueries, -std::numeric_limits<float>::infinity());
  std::fill_n(out, kUsed * task.head_dim, 0.0f);
  const auto end_of = [&](int64_t begin) { return std::min(task.last + 1, begin + kBlock); };
  RowPointers<Element> key_rows, value_rows;
  key_rows.Set(keys, task, task.first, end_of(task.first));
  for (int64_t begin = task.first; begin <= task.last; begin += kBlock) {
    const int64_t end = end_of(begin);
    const auto num_keys = static_cast<size_t>(end - begin);
    value_rows.Set(values, task, begin, end);
    value_rows.Prefetch(num_keys, task.head_dim);
    Score<kUsed>(q, key_rows, num_keys, task.head_dim, weights);
    if (end <= task.last) {
      key_rows.Set(keys, task, end, end_of(end));
      key_rows.Prefetch(static_cast<size_t>(end_of(end) - end), task.head_dim);
    }

    float new_largest[kQueries];
    std::copy_n(largest, kQueries, new_largest);
    for (size_t j = 0; j < num_keys; ++j) {
      for (size_t i = 0; i < kUsed; ++i) new_largest[i] = std::max(new_largest[i], weights[j][i] * task.scale);
    }
    for (size_t i = 0; i < kUsed; ++i) {
      keep[i] = std::exp(largest[i] - new_largest[i]);
      largest[i] = new_largest[i];
    }
    // One vector holds the scores of several keys, query by query: subtract the largest lane by lane, then exp.
    for (size_t j = 0; j < num_keys; ++j) {
      for (size_t i = 0; i < kUsed; ++i) weights[j][i] = weights[j][i] * task.scale - largest[i];
    }
    float* flat = &weights[0][0];
    for (size_t x = 0; x < num_keys * kQueries; x += lanes) {
      hn::StoreU(ExpOrNaN(d, hn::LoadU(d, flat + x)), d, flat + x);
    }
    for (size_t i = 0; i < kUsed; ++i) {
      float sum = 0;
      for (size_t j = 0; j < num_keys; ++j) sum += weights[j][i];
      total[i] = total[i] * keep[i] + sum;
    }
    Mix<kUsed>(weights, keep, value_rows, num_keys, task.head_dim, out);
  }
  for (size_t i = 0; i < kUsed; ++i) {
    const float inverse = 1.0f / total[i];
    for (int64_t x = 0; x < task.head_dim; ++x) out[i * task.head_dim + x] *= inverse;
  }
}

template <typename Element>
void AttendElements(const AttentionTask& task, const KvRows& keys, const KvRows& values) {
  for (int64_t query = 0; query < task.queries; query += kQueries) {
    const float* q = task.q + query * task.head_dim;
    float* out = task.out + query * task.head_dim;
    switch (std::min<int64_t>(kQueries, task.queries - query)) {
      case 1:
        AttendQueries<1, Element>(task, q, out, keys, values);
        break;
      case 2:
        AttendQueries<2, Element>(task, q, out, keys, values);
        break;
      case 3:
        AttendQueries<3, Element>(task, q, out, keys, values);
        break;
      default:
        AttendQueries<4, Element>(task, q, out, keys, values);
        break;
    }
  }
}

void Attend(const AttentionTask& task, const KvRows& keys, const KvRows& values) {
  DispatchKvElement(keys.dtype(), [&](auto type) { AttendElements<decltype(type)>(task, keys, values); });
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Attend);

void AttendOneToken(const AttentionTask& task, const KvRows& keys, const KvRows& values) {
  HWY_DYNAMIC_DISPATCH(Attend)(task, keys, values);
}

}  // namespace switchyard
#endif  // HWY_ONCE
