// KV pages of 8-bit elements on every CPU backend: what RopeAppendKv writes, and attention over it.
#include <algorithm>
#include <numeric>

#include "tests/kernels/paged_cache.h"

namespace switchyard {
namespace {

class KvTypesTest : public BackendTest {
 protected:
  template <typename Body>
  void ForEachType(Body body) {
    for (const DType dtype : {DType::kFloat8E4M3, DType::kInt8}) {
      SCOPED_TRACE(Name(dtype));
      body(dtype, dtype == DType::kInt8 ? 127.0 : 448.0);
      if (HasFatalFailure()) return;
    }
  }

  // The row of head `head` among a token's heads: q heads, k heads, v heads.
  static const float* HeadOf(const PagedSequences& sequences, const std::vector<float>& qkv, int64_t token,
                             int64_t head) {
    const AttentionSpec& spec = sequences.spec;
    return &qkv[(token * (spec.num_heads + 2 * spec.num_kv_heads) + head) * spec.head_dim];
  }

  // Attention of the tokens from position `from` on, against a loop over what the pages hold.
  void ExpectAttention(const PagedSequences& sequences, PagedCache& cache, int64_t from, const std::vector<float>& out);

  std::vector<float> RandomQkv(const PagedSequences& sequences) {
    const AttentionSpec& spec = sequences.spec;
    const int64_t tokens = std::accumulate(sequences.lengths.begin(), sequences.lengths.end(), int64_t{0});
    return Normal(tokens * (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim);
  }
};
INSTANTIATE_OVER_BACKENDS(KvTypesTest);

void KvTypesTest::ExpectAttention(const PagedSequences& sequences, PagedCache& cache, int64_t from,
                                  const std::vector<float>& out) {
  const auto [num_heads, num_kv_heads, head_dim, scale, window] = sequences.spec;
  const int64_t group = num_heads / num_kv_heads;
  int64_t first_token = 0;
  for (size_t s = 0; s < sequences.lengths.size(); ++s) {
    const int64_t length = sequences.lengths[s];
    for (int64_t kv_head = 0; kv_head < num_kv_heads; ++kv_head) {
      std::vector<std::vector<double>> keys, values;
      for (int64_t p = 0; p < length; ++p) {
        keys.push_back(cache.Key(s, kv_head, p).values);
        values.push_back(cache.Value(s, kv_head, p).values);
      }
      for (int64_t i = 0; i < std::max<int64_t>(0, length - from) * group; ++i) {
        const int64_t last = from + i / group;
        const int64_t row = ((first_token + i / group) * num_heads + kv_head * group + i % group) * head_dim;
        const int64_t first = window.has_value() ? std::max<int64_t>(0, last - *window + 1) : 0;
        const std::vector<double> q(&cache.q()[row], &cache.q()[row] + head_dim);
        std::vector<double> mixed(head_dim), magnitude(head_dim);
        double sum = 0, score_tolerance = 0;
        for (int64_t p = first; p <= last; ++p) {
          const double score = std::inner_product(q.begin(), q.end(), keys[p].begin(), 0.0) * scale;
          const double norms = Norm(keys[p].data(), head_dim) * Norm(q.data(), head_dim);
          score_tolerance = std::max(score_tolerance, DotTolerance(head_dim + 4, 1, norms) * scale);
          const double weight = std::exp(score);
          sum += weight;
          for (int64_t d = 0; d < head_dim; ++d) {
            mixed[d] += weight * values[p][d];
            magnitude[d] += weight * std::abs(values[p][d]);
          }
        }
        const double relative = 2 * score_tolerance + DotTolerance(last - first + 5, 1, 1) + 8 * kEpsilon;
        for (int64_t d = 0; d < head_dim; ++d) {
          ASSERT_NEAR(out[row + d], mixed[d] / sum, relative * magnitude[d] / sum)
              << "sequence " << s << " position " << last << " KV head " << kv_head << " dimension " << d;
        }
      }
    }
    first_token += std::max<int64_t>(0, length - from);
  }
}

TEST_P(KvTypesTest, ValuesAreRoundedToTheNearestElementOfTheirHeadsScale) {
  const PagedSequences sequences = {.spec = {.num_heads = 2, .num_kv_heads = 2, .head_dim = 37}, .lengths = {20}};
  const std::vector<float> qkv = RandomQkv(sequences);
  ForEachType([&](DType dtype, double largest_element) {
    PagedCache cache(*backend_, dtype, sequences, 1);
    cache.Run(qkv, {}, 0, 20);
    for (int64_t p = 0; p < 20; ++p) {
      for (int64_t h = 0; h < 2; ++h) {
        const float* value = HeadOf(sequences, qkv, p, 4 + h);
        const PagedCache::Row row = cache.Value(0, h, p);
        float largest = 0;
        for (int64_t d = 0; d < 37; ++d) largest = std::max(largest, std::abs(value[d]));
        ASSERT_EQ(row.scale, largest / static_cast<float>(largest_element));
        const float inverse = 1.0f / row.scale;
        for (int64_t d = 0; d < 37; ++d) {
          const float scaled = value[d] * inverse;
          const double expected =
              dtype == DType::kInt8 ? std::nearbyint(scaled) : FloatFromFloat8E4M3(Float8E4M3FromFloat(scaled));
          ASSERT_EQ(row.elements[d], expected) << "position " << p << " head " << h << " dimension " << d;
          if (std::abs(value[d]) == largest) {
            ASSERT_EQ(std::abs(row.elements[d]), largest_element);
          }
        }
      }
    }
  });
}

TEST_P(KvTypesTest, TiesGoToTheEvenElement) {
  const int64_t head_dim = 256;
  const PagedSequences sequences = {.spec = {.num_heads = 1, .num_kv_heads = 1, .head_dim = head_dim}, .lengths = {1}};
  ForEachType([&](DType dtype, double largest_element) {
    std::vector<float> qkv(3 * head_dim, 0.0f);
    float* values = &qkv[2 * head_dim];
    std::vector<double> expected(head_dim);
    values[0] = static_cast<float>(largest_element);  // the scale is 1
    expected[0] = largest_element;
    for (int i = 1; i < 126; ++i) {
      const auto code = [i](int more) { return Float8E4M3{static_cast<uint8_t>(i + more)}; };
      const double low = dtype == DType::kInt8 ? i : FloatFromFloat8E4M3(code(0));
      const double high = dtype == DType::kInt8 ? i + 1 : FloatFromFloat8E4M3(code(1));
      values[2 * i] = static_cast<float>((low + high) / 2);
      expected[2 * i] = i % 2 == 0 ? low : high;
      values[2 * i + 1] = -values[2 * i];
      expected[2 * i + 1] = -expected[2 * i];
    }
    PagedCache cache(*backend_, dtype, sequences, 1);
    cache.Run(qkv, {}, 0, 1);
    EXPECT_EQ(cache.Value(0, 0, 0).elements, expected);
  });
}

TEST_P(KvTypesTest, KeysAreTurnedBeforeTheyAreRounded) {
  const PagedSequences sequences = {.spec = {.num_heads = 2, .num_kv_heads = 2, .head_dim = 20}, .lengths = {30}};
  const std::vector<float> qkv = RandomQkv(sequences);
  const std::vector<float> inv_freq = {1.0f, 0.5f, 0.25f, 0.1f, 0.05f, 0.02f, 0.01f};
  ForEachType([&](DType dtype, double largest_element) {
    PagedCache cache(*backend_, dtype, sequences, 1);
    cache.Run(qkv, {.inv_freq = inv_freq}, 0, 30);
    for (int64_t p = 0; p < 30; ++p) {
      for (int64_t h = 0; h < 2; ++h) {
        const float* key = HeadOf(sequences, qkv, p, 2 + h);
        std::vector<double> turned(key, key + 20);
        for (int64_t i = 0; i < 7; ++i) {
          const double angle = static_cast<float>(p) * inv_freq[i];
          turned[i] = key[i] * std::cos(angle) - key[i + 7] * std::sin(angle);
          turned[i + 7] = key[i + 7] * std::cos(angle) + key[i] * std::sin(angle);
        }
        double largest = 0;
        for (const double x : turned) largest = std::max(largest, std::abs(x));
        const PagedCache::Row row = cache.Key(0, h, p);
        ASSERT_NEAR(row.scale, largest / largest_element, 1e-6 * row.scale);
        for (int64_t d = 0; d < 20; ++d) {
          // Half a step of the type, and the error of the turn.
          const double step =
              dtype == DType::kInt8 ? row.scale / 2 : std::max(0x1p-4 * std::abs(turned[d]), 0x1p-10 * row.scale);
          ASSERT_NEAR(row.values[d], turned[d], step + 1e-5 * largest) << "position " << p << " dimension " << d;
        }
      }
    }
  });
}

TEST_P(KvTypesTest, AttentionReadsElementsTimesScales) {
  const AttentionSpec specs[] = {
      {.num_heads = 8, .num_kv_heads = 2, .head_dim = 64, .scale = 0.125f},
      {.num_heads = 3, .num_kv_heads = 1, .head_dim = 20, .scale = 0.2f},
      {.num_heads = 7, .num_kv_heads = 1, .head_dim = 5, .scale = 0.3f, .sliding_window = 70},
      {.num_heads = 2, .num_kv_heads = 2, .head_dim = 128, .scale = 0.09f}};
  for (const AttentionSpec& spec : specs) {
    SCOPED_TRACE(testing::Message() << spec.num_heads << " heads of " << spec.head_dim);
    const PagedSequences sequences = {.spec = spec, .lengths = {151, 3, 90}};
    std::vector<float> qkv = RandomQkv(sequences);
    ForEachType([&](DType dtype, double /*largest_element*/) {
      PagedCache cache(*backend_, dtype, sequences, 1);
      // A prefill in tiles, a chunk in the middle, and a token of each sequence that goes on.
      ExpectAttention({spec, 16, {75, 3, 75}}, cache, 0, cache.Run(qkv, {}, 0, 75));
      if (HasFatalFailure()) return;
      ExpectAttention({spec, 16, {150, 0, 90}}, cache, 75, cache.Run(qkv, {}, 75, 150));
      if (HasFatalFailure()) return;
      ExpectAttention(sequences, cache, 150, cache.Run(qkv, {}, 150, 151));
    });
  }
}

TEST_P(KvTypesTest, AttentionDiffersFromFloat32ByTheRoundingOfItsType) {
  const AttentionSpec spec = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .scale = 0.17f};
  const PagedSequences sequences = {.spec = spec, .lengths = {100}};
  const std::vector<float> qkv = RandomQkv(sequences);
  PagedCache exact(*backend_, DType::kFloat32, sequences, 1);
  const std::vector<float> expected = exact.Run(qkv, {}, 0, 100);
  ForEachType([&](DType dtype, double /*largest_element*/) {
    PagedCache cache(*backend_, dtype, sequences, 1);
    const std::vector<float> out = cache.Run(qkv, {}, 0, 100);
    // Half a step: relative to the number, or to the row's largest.
    const auto error_of = [&](const float* row, int64_t d) {
      double largest = 0;
      for (int64_t i = 0; i < spec.head_dim; ++i) largest = std::max<double>(largest, std::abs(row[i]));
      if (dtype == DType::kInt8) return largest / 254;
      return std::max(0x1p-4 * std::abs(row[d]), 0x1p-10 * largest / 448);
    };
    for (int64_t t = 0; t < 100; ++t) {
      for (int64_t h = 0; h < spec.num_heads; ++h) {
        double score_error = 0, value_error = 0, largest_value = 0;
        for (int64_t p = 0; p <= t; ++p) {
          const float* key = HeadOf(sequences, qkv, p, 4 + h / 2);
          const float* value = HeadOf(sequences, qkv, p, 6 + h / 2);
          double variance = 0;  // roundings are independent: six deviations of their sum
          for (int64_t d = 0; d < spec.head_dim; ++d) {
            const double error = HeadOf(sequences, qkv, t, h)[d] * error_of(key, d);
            variance += error * error;
            value_error = std::max(value_error, error_of(value, d));
            largest_value = std::max<double>(largest_value, std::abs(value[d]));
          }
          score_error = std::max(score_error, 6 * std::sqrt(variance) * spec.scale);
        }
        const double tolerance = value_error + std::expm1(2 * score_error) * largest_value;
        for (int64_t d = 0; d < spec.head_dim; ++d) {
          const int64_t i = (t * spec.num_heads + h) * spec.head_dim + d;
          ASSERT_NEAR(out[i], expected[i], tolerance) << "token " << t << " head " << h;
        }
      }
    }
  });
}

TEST_P(KvTypesTest, ResultsDoNotDependOnWhichPagesHoldARow) {
  const AttentionSpec spec = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 24, .scale = 0.2f};
  const PagedSequences sequences = {.spec = spec, .page_size = 8, .lengths = {70, 33}};
  PagedSequences large_pages = sequences;
  large_pages.page_size = 24;
  const std::vector<float> qkv = RandomQkv(sequences);
  ForEachType([&](DType dtype, double /*largest_element*/) {
    PagedCache first(*backend_, dtype, sequences, 1);
    PagedCache second(*backend_, dtype, large_pages, 2);
    EXPECT_EQ(first.Run(qkv, {}, 0, 69), second.Run(qkv, {}, 0, 69));
    EXPECT_EQ(first.Run(qkv, {}, 69, 70), second.Run(qkv, {}, 69, 70));
    // Nor do the rows depend on the chunks that they came in.
    PagedCache chunks(*backend_, dtype, sequences, 3);
    for (int64_t p = 0; p < 70; p += 7) chunks.Run(qkv, {}, p, p + 7);
    for (int64_t p = 0; p < 70; ++p) {
      EXPECT_EQ(first.Key(0, 1, p).codes, chunks.Key(0, 1, p).codes);
      EXPECT_EQ(first.Value(0, 1, p).scale, chunks.Value(0, 1, p).scale);
    }
  });
}

TEST_P(KvTypesTest, RowsOfZerosHugeAndTinyNumbersStayFinite) {
  const AttentionSpec spec = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .scale = 0.25f};
  const PagedSequences sequences = {.spec = spec, .lengths = {6}};
  std::vector<float> qkv = RandomQkv(sequences);
  const float magnitudes[] = {0.0f, 1e-45f, 1e-37f, 1e-30f, 1.0f, 3e38f};
  for (int64_t p = 0; p < 6; ++p) {
    float* value = &qkv[p * 48 + 32];
    for (int64_t d = 0; d < 16; ++d) value[d] = d % 2 == 0 ? magnitudes[p] : -magnitudes[p] / 4;
    if (magnitudes[p] == 0) std::fill_n(&qkv[p * 48 + 16], 16, 0.0f);
  }
  ForEachType([&](DType dtype, double largest_element) {
    PagedCache cache(*backend_, dtype, sequences, 1);
    for (const float value : cache.Run(qkv, {}, 0, 6)) EXPECT_TRUE(std::isfinite(value));
    EXPECT_EQ(cache.Key(0, 0, 0).scale, 0.0f);
    for (const int64_t p : {0, 1, 2}) {
      EXPECT_EQ(cache.Value(0, 0, p).scale, 0.0f) << p;
      EXPECT_EQ(cache.Value(0, 0, p).codes, std::vector<uint8_t>(16, 0)) << p;
    }
    for (const int64_t p : {3, 4, 5}) {
      EXPECT_EQ(cache.Value(0, 0, p).elements[0], largest_element) << p;
      EXPECT_NEAR(cache.Value(0, 0, p).values[1], -magnitudes[p] / 4, magnitudes[p] / 254);
    }
  });
}

TEST_P(KvTypesTest, WhatIsNoNumberStaysInItsHeadAndSequence) {
  const AttentionSpec spec = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .scale = 0.25f};
  const PagedSequences sequences = {.spec = spec, .page_size = 8, .lengths = {40, 40}};
  const std::vector<float> qkv = RandomQkv(sequences);
  std::vector<float> spoilt = qkv;
  spoilt[(10 * 8 + 6) * 16 + 3] = NAN;              // a value of KV head 0, first sequence
  spoilt[((40 + 12) * 8 + 5) * 16 + 7] = INFINITY;  // a key of KV head 1, second sequence
  ForEachType([&](DType dtype, double /*largest_element*/) {
    PagedCache clean(*backend_, dtype, sequences, 1);
    PagedCache cache(*backend_, dtype, sequences, 1);
    clean.Run(qkv, {}, 0, 39);
    cache.Run(spoilt, {}, 0, 39);
    const std::vector<float> expected = clean.Run(qkv, {}, 39, 40);
    const std::vector<float> out = cache.Run(spoilt, {}, 39, 40);
    for (size_t i = 0; i < out.size(); ++i) {
      const bool reads_value = i < 32;
      const bool reads_key = i >= 64 + 32;
      if (reads_value) {
        ASSERT_TRUE(std::isnan(out[i])) << i;
      } else if (!reads_key) {
        ASSERT_EQ(out[i], expected[i]) << i;
      }
    }
    EXPECT_TRUE(std::isnan(cache.Value(0, 0, 10).scale));
    EXPECT_TRUE(std::isnan(cache.Key(1, 1, 12).scale));
    EXPECT_EQ(cache.Value(0, 1, 10).scale, clean.Value(0, 1, 10).scale);
  });
}

}  // namespace
}  // namespace switchyard
