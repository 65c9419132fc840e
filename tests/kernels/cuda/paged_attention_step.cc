#include "tests/kernels/cuda/paged_attention_step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_forms.h"
#include "kernels/float8.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

constexpr uint16_t kNan = 0x7FFF;  // in both formats

// Keys or values of all pages as the device has them, NaN at first.
struct KvRows {
  KvRows() = default;
  KvRows(const AttentionStep& step, int64_t rows)
      : dtype(step.kv_dtype.value_or(step.dtype)),
        head_dim(step.head_dim),
        bytes(rows * head_dim * SizeOf(dtype), 0x7F),  // NaN of e4m3
        scales(rows, std::numeric_limits<float>::quiet_NaN()) {
    if (SizeOf(dtype) == 2) std::fill_n(reinterpret_cast<uint16_t*>(bytes.data()), rows * head_dim, kNan);
  }

  void Fill(int64_t row, std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (int64_t i = row * head_dim; i < (row + 1) * head_dim; ++i) {
      if (SizeOf(dtype) == 2) {
        reinterpret_cast<uint16_t*>(bytes.data())[i] = HalfFromFloat(dtype, normal(random));
      } else {
        // Every code but the type's NaN, or -128: others follow from what is written.
        do bytes[i] = static_cast<uint8_t>(random());
        while (dtype == DType::kInt8 ? bytes[i] == 0x80 : (bytes[i] & 0x7F) == 0x7F);
      }
    }
    scales[row] = (0.2f + std::abs(normal(random))) / (dtype == DType::kInt8 ? 50.0f : 150.0f);
  }

  double At(int64_t row, int64_t d) const {
    const int64_t i = row * head_dim + d;
    if (SizeOf(dtype) == 2) return FloatFromHalf(dtype, reinterpret_cast<const uint16_t*>(bytes.data())[i]);
    if (dtype == DType::kInt8) return static_cast<double>(scales[row]) * static_cast<int8_t>(bytes[i]);
    return static_cast<double>(scales[row]) * FloatFromFloat8E4M3({bytes[i]});
  }

  DType dtype = DType::kBFloat16;
  int64_t head_dim = 0;
  std::vector<uint8_t> bytes;  // [rows, head_dim]
  std::vector<float> scales;   // [rows]
};

class StepRunner {
 public:
  explicit StepRunner(const AttentionStep& step) : step_(step), random_(step.seed) {
    LayOutTokens();
    LayOutPages();
    q_.assign(num_tokens() * step.num_heads * step.head_dim, kNan);
    for (int64_t t = 0; t < num_tokens(); ++t) {
      if (token_sequence_[t] >= 0) Fill(&q_[t * row()], row(), step.query_deviation);
    }
  }

  // Runs the step on the device and compares every element.
  void ExpectCorrect() const {
    const std::vector<uint16_t> out = Run();
    for (int64_t t = 0; t < num_tokens(); ++t) {
      for (int64_t h = 0; h < step_.num_heads; ++h) {
        const int64_t first = t * row() + h * step_.head_dim;
        ExpectHead(t, h, std::vector<uint16_t>(out.begin() + first, out.begin() + first + step_.head_dim));
        if (testing::Test::HasFailure()) return;
      }
    }
  }

 private:
  int64_t row() const { return step_.num_heads * step_.head_dim; }
  int64_t num_tokens() const { return static_cast<int64_t>(positions_.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(step_.sequences.size()); }

  void Fill(uint16_t* data, int64_t n, float deviation) {
    std::normal_distribution<float> normal(0.0f, deviation);
    for (int64_t i = 0; i < n; ++i) data[i] = HalfFromFloat(step_.dtype, normal(random_));
  }

  void LayOutTokens() {
    sequence_begin_.push_back(0);
    for (int64_t s = 0; s < num_sequences(); ++s) {
      const auto [context, tokens] = step_.sequences[s];
      for (int64_t i = 0; i < tokens; ++i) {
        positions_.push_back(static_cast<int32_t>(context - tokens + i));
        token_sequence_.push_back(static_cast<int32_t>(s));
      }
      sequence_begin_.push_back(static_cast<int32_t>(positions_.size()));
    }
    positions_.insert(positions_.end(), step_.num_padding_rows, 0);
    token_sequence_.insert(token_sequence_.end(), step_.num_padding_rows, -1);
  }

  // Pages in random order, and one in use by nobody.
  void LayOutPages() {
    const auto pages_of = [&](const AttentionStepSequence& s) {
      return (s.context + step_.page_size - 1) / step_.page_size;
    };
    int64_t num_pages = 1;
    for (const AttentionStepSequence& s : step_.sequences) {
      num_pages += pages_of(s);
      page_table_width_ = std::max(page_table_width_, pages_of(s) + 1);
    }
    std::vector<int32_t> order(num_pages);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    page_table_.assign(num_sequences() * page_table_width_, -1);
    const int64_t rows = num_pages * step_.num_kv_heads * step_.page_size;
    k_ = v_ = KvRows(step_, rows);
    for (int64_t s = 0; s < num_sequences(); ++s) {
      for (int64_t p = 0; p < pages_of(step_.sequences[s]); ++p) {
        page_table_[s * page_table_width_ + p] = order.back();
        order.pop_back();
      }
      for (int64_t h = 0; h < step_.num_kv_heads; ++h) {
        for (int64_t p = 0; p < step_.sequences[s].context; ++p) {
          k_.Fill(PageRow(s, h, p), random_);
          v_.Fill(PageRow(s, h, p), random_);
        }
      }
    }
  }

  int64_t PageRow(int64_t sequence, int64_t kv_head, int64_t position) const {
    const int64_t page = page_table_[sequence * page_table_width_ + position / step_.page_size];
    return (page * step_.num_kv_heads + kv_head) * step_.page_size + position % step_.page_size;
  }

  std::vector<uint16_t> Run() const {
    PagedAttentionArgs args = {.dtype = step_.dtype,
                               .kv_dtype = step_.kv_dtype,
                               .num_tokens = num_tokens(),
                               .num_sequences = num_sequences(),
                               .num_heads = step_.num_heads,
                               .num_kv_heads = step_.num_kv_heads,
                               .head_dim = step_.head_dim,
                               .scale = 1.0f / std::sqrt(static_cast<float>(step_.head_dim)),
                               .sliding_window = step_.window,
                               .page_table_width = page_table_width_,
                               .page_size = step_.page_size,
                               .num_multiprocessors = step_.num_multiprocessors};
    args.min_query_tokens = step_.sequences.empty() ? 0 : step_.sequences[0].tokens;
    for (const AttentionStepSequence& s : step_.sequences) {
      args.max_context = std::max(args.max_context, s.context + step_.spare_context);
      args.max_query_tokens = std::max(args.max_query_tokens, s.tokens);
      args.min_query_tokens = std::min(args.min_query_tokens, s.tokens);
    }
    const DeviceVector<uint16_t> q(q_);
    const DeviceVector<uint8_t> k(k_.bytes);
    const DeviceVector<uint8_t> v(v_.bytes);
    const DeviceVector<float> k_scales(k_.scales);
    const DeviceVector<float> v_scales(v_.scales);
    const DeviceVector<int32_t> positions(positions_);
    const DeviceVector<int32_t> token_sequence(token_sequence_);
    const DeviceVector<int32_t> sequence_begin(sequence_begin_);
    const DeviceVector<int32_t> page_table(page_table_);
    std::vector<uint8_t> scratch_before(PagedAttentionScratchBytes(num_sequences(), step_.num_heads, step_.head_dim),
                                        0xFF);
    std::fill_n(scratch_before.begin(), MaxDecodeArrivals(step_.num_heads) * sizeof(int32_t), uint8_t{0});
    const DeviceVector<uint8_t> scratch(scratch_before);
    const DeviceVector<uint16_t> out(std::vector<uint16_t>(q_.size(), kNan));
    args.q = q.data();
    args.k_pages = k.data();
    args.v_pages = v.data();
    args.k_scales = k_scales.data();
    args.v_scales = v_scales.data();
    args.positions = positions.data();
    args.token_sequence = token_sequence.data();
    args.sequence_begin = sequence_begin.data();
    args.page_table = page_table.data();
    args.scratch = scratch.data();
    args.out = out.data();
    PagedAttention(args, TestStream());
    if (NeedsDecodeForm(args) && NumDecodeSplits(args) > 1) {
      // Once more with the scratch that the first left; blocks end in another order.
      const DeviceVector<uint16_t> second(std::vector<uint16_t>(q_.size(), kNan));
      args.out = second.data();
      PagedAttention(args, TestStream());
      EXPECT_EQ(second.ToHost(), out.ToHost());
    }
    return out.ToHost();
  }

  void ExpectHead(int64_t t, int64_t h, const std::vector<uint16_t>& out) const {
    const int64_t dim = step_.head_dim;
    const int64_t sequence = token_sequence_[t];
    if (sequence < 0) {
      EXPECT_EQ(out, std::vector<uint16_t>(dim, 0)) << "padding row " << t << " head " << h;
      return;
    }
    const int64_t kv_head = h / (step_.num_heads / step_.num_kv_heads);
    const int64_t position = positions_[t];
    const int64_t first = step_.window > 0 ? std::max<int64_t>(0, position - step_.window + 1) : 0;
    std::vector<double> weights;
    for (int64_t p = first; p <= position; ++p) {
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d) {
        dot += static_cast<double>(FloatFromHalf(step_.dtype, q_[t * row() + h * dim + d])) *
               k_.At(PageRow(sequence, kv_head, p), d);
      }
      weights.push_back(dot / std::sqrt(static_cast<float>(dim)));
    }
    const double largest = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& w : weights) sum += w = std::exp(w - largest);
    // Weights (times scales) and results are rounded to the dtype once each; sums, scores and exponentials have
    // float32's errors, of which scores of size |s| carry some |s| * 2^-22. A float16 weight may be subnormal: 2^-25
    // more.
    const double unit = step_.dtype == DType::kBFloat16 ? 0x1p-8 : 0x1p-11;  // half an ulp of 1
    const double float32_unit = 0x1p-22 * (8 + std::abs(largest) + static_cast<double>(weights.size()) / 16);
    for (int64_t d = 0; d < dim; ++d) {
      double expected = 0;
      double magnitude = 0;
      double largest_value = 0;
      for (int64_t p = first; p <= position; ++p) {
        const double value = v_.At(PageRow(sequence, kv_head, p), d);
        expected += weights[p - first] / sum * value;
        magnitude += weights[p - first] / sum * std::abs(value);
        largest_value = std::max(largest_value, std::abs(value));
      }
      const double tolerance =
          (unit + float32_unit) * magnitude + HalfRounding(step_.dtype, expected) + 0x1p-24 * largest_value;
      const double actual = FloatFromHalf(step_.dtype, out[d]);
      ASSERT_TRUE(std::abs(actual - expected) <= tolerance)  // false for NaN
          << Name(step_.dtype) << " with keys of " << Name(step_.kv_dtype.value_or(step_.dtype)) << " head_dim " << dim
          << " page_size " << step_.page_size << " window " << step_.window << " heads " << step_.num_heads << "/"
          << step_.num_kv_heads << ": token " << t << " position " << position << " head " << h << " dim " << d << ": "
          << actual << " instead of " << expected << " +- " << tolerance;
    }
  }

  const AttentionStep step_;
  std::mt19937 random_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> token_sequence_;
  std::vector<int32_t> sequence_begin_;
  std::vector<int32_t> page_table_;
  int64_t page_table_width_ = 1;
  std::vector<uint16_t> q_;
  KvRows k_, v_;
};

}  // namespace

void ExpectCorrectAttention(const AttentionStep& step) { StepRunner(step).ExpectCorrect(); }

}  // namespace switchyard::cuda
