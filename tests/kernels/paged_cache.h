// A KV cache of one layer with its sequences, for tests that write it by RopeAppendKv and read what was written.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/float8.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {

struct PagedSequences {
  AttentionSpec spec;
  int64_t page_size = 16;
  std::vector<int64_t> lengths;
};

// A cache, written token by token or chunk by chunk, and the steps over it.
class PagedCache {
 public:
  PagedCache(Backend& backend, DType dtype, const PagedSequences& sequences, uint32_t page_order_seed)
      : backend_(backend), sequences_(sequences) {
    const auto& [spec, page_size, lengths] = sequences;
    for (const int64_t length : lengths) max_pages_ = std::max(max_pages_, (length + page_size - 1) / page_size);
    const auto num_pages = static_cast<int64_t>(lengths.size()) * max_pages_ + 1;
    pages_.resize(num_pages);
    std::iota(pages_.begin(), pages_.end(), 0);
    std::mt19937 random(page_order_seed);
    std::shuffle(pages_.begin(), pages_.end(), random);
    const Shape elements = {num_pages, spec.num_kv_heads, page_size, spec.head_dim};
    const Shape scales = {num_pages, spec.num_kv_heads, page_size};
    k_ = *backend.AllocateTensor(dtype, elements);
    v_ = *backend.AllocateTensor(dtype, elements);
    if (dtype == DType::kFloat32) return;
    k_scales_ = *backend.AllocateTensor(DType::kFloat32, scales);
    v_scales_ = *backend.AllocateTensor(DType::kFloat32, scales);
  }

  KvPages view() {
    return {.k = k_.view(), .v = v_.view(), .k_scales = k_scales_.view(), .v_scales = v_scales_.view()};
  }

  // Positions [from, to) of every sequence, clipped to its length; qkv of all sequences, one after the other.
  // Returns attention's output of those positions.
  std::vector<float> Run(const std::vector<float>& qkv, const RopeSpec& rope, int64_t from, int64_t to) {
    const auto& [spec, page_size, lengths] = sequences_;
    const int64_t width = (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim;
    std::vector<int32_t> positions, token_sequence, begin = {0}, table;
    std::vector<float> step_qkv;
    int64_t first_token = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t p = from; p < std::min(to, lengths[s]); ++p) {
        positions.push_back(static_cast<int32_t>(p));
        token_sequence.push_back(static_cast<int32_t>(s));
        const float* row = &qkv[(first_token + p) * width];
        step_qkv.insert(step_qkv.end(), row, row + width);
      }
      begin.push_back(static_cast<int32_t>(positions.size()));
      for (int64_t i = 0; i < max_pages_; ++i) table.push_back(pages_[s * max_pages_ + i]);
      first_token += lengths[s];
    }
    const auto tokens = static_cast<int64_t>(positions.size());
    const auto num_sequences = static_cast<int64_t>(lengths.size());
    const AttentionIndex index = {.positions = View(std::as_const(positions), {tokens}),
                                  .token_sequence = View(std::as_const(token_sequence), {tokens}),
                                  .sequence_begin = View(std::as_const(begin), {num_sequences + 1}),
                                  .page_table = View(std::as_const(table), {num_sequences, max_pages_}),
                                  .max_context = to};
    const Shape heads = {tokens, spec.num_heads, spec.head_dim};
    std::vector<float> out(heads.num_elements());
    q_.assign(heads.num_elements(), 0.0f);
    backend_.RopeAppendKv(spec, rope, index, View(std::as_const(step_qkv), {tokens, width}), View(q_, heads), view());
    backend_.PagedAttention(spec, index, View(std::as_const(q_), heads), view(), View(out, heads));
    return out;
  }

  struct Row {
    float scale = 0;
    std::vector<double> elements;  // before the scale
    std::vector<double> values;    // after it
    std::vector<uint8_t> codes;
  };
  Row Key(int64_t sequence, int64_t head, int64_t position) { return Read(k_, k_scales_, sequence, head, position); }
  Row Value(int64_t sequence, int64_t head, int64_t position) { return Read(v_, v_scales_, sequence, head, position); }
  const std::vector<float>& q() const { return q_; }  // of the last step, turned

 private:
  Row Read(Tensor& elements, Tensor& scales, int64_t sequence, int64_t head, int64_t position) {
    const auto& [spec, page_size, lengths] = sequences_;
    const int64_t page = pages_[sequence * max_pages_ + position / page_size];
    const int64_t at = (page * spec.num_kv_heads + head) * page_size + position % page_size;
    Row row;
    row.scale = scales.view().As<float>()[at];
    const auto* codes = static_cast<const uint8_t*>(elements.view().data()) + at * spec.head_dim;
    row.codes.assign(codes, codes + spec.head_dim);
    for (const uint8_t code : row.codes) {
      const double element = elements.view().dtype() == DType::kInt8 ? static_cast<double>(static_cast<int8_t>(code))
                                                                     : FloatFromFloat8E4M3({code});
      row.elements.push_back(element);
      row.values.push_back(element * row.scale);
    }
    return row;
  }

  Backend& backend_;
  const PagedSequences sequences_;
  int64_t max_pages_ = 0;
  std::vector<int32_t> pages_;
  Tensor k_, v_, k_scales_, v_scales_;
  std::vector<float> q_;
};

}  // namespace switchyard
