// ReferenceBackend: rotary embedding and paged attention.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/kv_rows.h"
#include "kernels/cpu/op_checks.h"
#include "kernels/cpu/reference_backend.h"

namespace switchyard {
namespace {

// Turns one head, in and out [head_dim]; dimensions from rotary_dim on pass through.
void Rotate(const RopeSpec& rope, int32_t position, const float* in, int64_t head_dim, float* out) {
  const auto half = static_cast<int64_t>(rope.inv_freq.size());
  std::copy_n(in, head_dim, out);
  for (int64_t i = 0; i < half; ++i) {
    // The angle is a float32 product, as in the models' training code: far positions differ visibly otherwise.
    const float angle = static_cast<float>(position) * rope.inv_freq[i];
    const double cosine = std::cos(static_cast<double>(angle)) * rope.attention_factor;
    const double sine = std::sin(static_cast<double>(angle)) * rope.attention_factor;
    out[i] = static_cast<float>(in[i] * cosine - in[i + half] * sine);
    out[i + half] = static_cast<float>(in[i + half] * cosine + in[i] * sine);
  }
}

}  // namespace

void ReferenceBackend::RopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                                    ConstTensorView qkv, TensorView q_out, const KvPages& pages) {
  CheckRopeAppendKv(attention, rope, index, qkv, q_out, pages);
  const auto [num_heads, num_kv_heads, head_dim, scale, window] = attention;
  const KvRows keys(pages.k, pages.k_scales, index.page_table);
  const KvRows values(pages.v, pages.v_scales, index.page_table);
  std::vector<float> turned(head_dim);
  for (int64_t t = 0; t < qkv.dim(0); ++t) {
    const int32_t position = index.positions.As<int32_t>()[t];
    const int32_t sequence = index.token_sequence.As<int32_t>()[t];
    if (sequence < 0) continue;
    const float* q = qkv.As<float>().data() + t * qkv.row_elements();
    const float* k = q + num_heads * head_dim;
    const float* v = k + num_kv_heads * head_dim;
    for (int64_t h = 0; h < num_heads; ++h) {
      Rotate(rope, position, q + h * head_dim, head_dim, q_out.As<float>().data() + (t * num_heads + h) * head_dim);
    }
    for (int64_t h = 0; h < num_kv_heads; ++h) {
      Rotate(rope, position, k + h * head_dim, head_dim, turned.data());
      WriteKvRow(turned.data(), keys, keys.At(sequence, h, position));
      WriteKvRow(v + h * head_dim, values, values.At(sequence, h, position));
    }
  }
}

void ReferenceBackend::PagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                                      const KvPages& pages, TensorView out) {
  CheckPagedAttention(attention, index, q, pages, out);
  const auto [num_heads, num_kv_heads, head_dim, scale, window] = attention;
  const KvRows keys(pages.k, pages.k_scales, index.page_table);
  const KvRows values(pages.v, pages.v_scales, index.page_table);
  std::vector<float> row(head_dim);
  for (int64_t t = 0; t < q.dim(0); ++t) {
    const int64_t position = index.positions.As<int32_t>()[t];
    const int32_t sequence = index.token_sequence.As<int32_t>()[t];
    if (sequence < 0) {
      std::fill_n(out.As<float>().data() + t * num_heads * head_dim, num_heads * head_dim, 0.0f);
      continue;
    }
    const int64_t first = window.has_value() ? std::max<int64_t>(0, position - *window + 1) : 0;
    for (int64_t h = 0; h < num_heads; ++h) {
      const int64_t kv_head = h / (num_heads / num_kv_heads);
      const float* query = q.As<float>().data() + (t * num_heads + h) * head_dim;
      std::vector<double> score;
      for (int64_t p = first; p <= position; ++p) {
        ReadKvRow(keys, keys.At(sequence, kv_head, p), row.data());
        double dot = 0;
        for (int64_t d = 0; d < head_dim; ++d) dot += static_cast<double>(query[d]) * row[d];
        score.push_back(dot * scale);
      }
      const double largest = *std::max_element(score.begin(), score.end());
      double sum = 0;
      for (double& s : score) sum += s = std::exp(s - largest);
      std::vector<double> mixed(head_dim, 0.0);
      for (int64_t p = first; p <= position; ++p) {
        ReadKvRow(values, values.At(sequence, kv_head, p), row.data());
        for (int64_t d = 0; d < head_dim; ++d) mixed[d] += score[p - first] / sum * row[d];
      }
      std::copy(mixed.begin(), mixed.end(), out.As<float>().data() + (t * num_heads + h) * head_dim);
    }
  }
}

}  // namespace switchyard
