#include "kernels/cpu/rope.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/kv_quantize.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxHalf = 512;            // of rotary_dim; four times what models have
constexpr int64_t kMaxQuantizedHead = 1024;  // of head_dim, where elements have 8 bits

// in, out [head_dim], not overlapping; dimensions from 2 * half on pass through.
void Rotate(const float* __restrict in, const float* __restrict cosines, const float* __restrict sines, int64_t half,
            int64_t head_dim, float* __restrict out) {
  for (int64_t i = 0; i < half; ++i) {
    out[i] = in[i] * cosines[i] - in[i + half] * sines[i];
    out[i + half] = in[i + half] * cosines[i] + in[i] * sines[i];
  }
  std::copy(in + 2 * half, in + head_dim, out + 2 * half);
}

// Keys and values of one token's heads; k, v [num_kv_heads, head_dim].
template <typename Element>
void AppendHeads(const RopeTask& task, int64_t sequence, int64_t position, const float* k, const float* v,
                 const float* cosines, const float* sines) {
  const int64_t head_dim = task.attention.head_dim;
  const auto half = static_cast<int64_t>(task.rope.inv_freq.size());
  for (int64_t h = 0; h < task.attention.num_kv_heads; ++h) {
    const int64_t row = task.keys.At(sequence, h, position);
    auto* key = task.keys.Elements<Element>(row);
    auto* value = task.values.Elements<Element>(row);
    if constexpr (std::is_same_v<Element, float>) {
      Rotate(k + h * head_dim, cosines, sines, half, head_dim, key);
      std::copy_n(v + h * head_dim, head_dim, value);
    } else {
      float turned[kMaxQuantizedHead];
      Rotate(k + h * head_dim, cosines, sines, half, head_dim, turned);
      QuantizeKv(turned, head_dim, key, &task.keys.scale(row));
      QuantizeKv(v + h * head_dim, head_dim, value, &task.values.scale(row));
    }
  }
}

}  // namespace

void RopeAppendTokens(const RopeTask& task, int64_t begin, int64_t end) {
  const auto [num_heads, num_kv_heads, head_dim, scale, window] = task.attention;
  const auto half = static_cast<int64_t>(task.rope.inv_freq.size());
  CHECK_LE(half, kMaxHalf);
  CHECK(task.keys.dtype() == DType::kFloat32 || head_dim <= kMaxQuantizedHead);
  float cosines[kMaxHalf];
  float sines[kMaxHalf];
  for (int64_t t = begin; t < end; ++t) {
    const int32_t position = task.index.positions.As<int32_t>()[t];
    const int32_t sequence = task.index.token_sequence.As<int32_t>()[t];
    if (sequence < 0) continue;
    for (int64_t i = 0; i < half; ++i) {
      // The angle is a float32 product, as in the models' training code: far positions differ visibly otherwise.
      const float angle = static_cast<float>(position) * task.rope.inv_freq[i];
      cosines[i] = std::cos(angle) * task.rope.attention_factor;
      sines[i] = std::sin(angle) * task.rope.attention_factor;
    }
    const float* q = task.qkv + t * (num_heads + 2 * num_kv_heads) * head_dim;
    const float* k = q + num_heads * head_dim;
    const float* v = k + num_kv_heads * head_dim;
    for (int64_t h = 0; h < num_heads; ++h) {
      Rotate(q + h * head_dim, cosines, sines, half, head_dim, task.q_out + (t * num_heads + h) * head_dim);
    }
    DispatchKvElement(task.keys.dtype(),
                      [&](auto type) { AppendHeads<decltype(type)>(task, sequence, position, k, v, cosines, sines); });
  }
}

}  // namespace switchyard
