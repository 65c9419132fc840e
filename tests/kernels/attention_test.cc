// Rotary embedding and paged attention of every CPU backend.
#include <algorithm>
#include <optional>

#include "tests/kernels/paged_cache.h"

namespace switchyard {
namespace {

// Sequences whose pages lie shuffled in a pool, and the tokens of one step.
struct Step {
  AttentionSpec spec;
  int64_t page_size = 0;
  int64_t num_pages = 0;
  int64_t max_pages = 0;
  std::vector<int32_t> positions, token_sequence, sequence_begin, page_table;
  std::vector<float> k, v;  // pages

  int64_t tokens() const { return static_cast<int64_t>(positions.size()); }
  AttentionIndex Index() const {
    const auto sequences = static_cast<int64_t>(sequence_begin.size()) - 1;
    return {.positions = View(positions, {tokens()}),
            .token_sequence = View(token_sequence, {tokens()}),
            .sequence_begin = View(sequence_begin, {sequences + 1}),
            .page_table = View(page_table, {sequences, max_pages}),
            .max_context = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end()) + 1};
  }
  KvPages Pages() {
    const Shape shape{num_pages, spec.num_kv_heads, page_size, spec.head_dim};
    return {View(k, shape), View(v, shape)};
  }
  int64_t RowOffset(int64_t sequence, int64_t kv_head, int64_t position) const {
    const int64_t page = page_table[sequence * max_pages + position / page_size];
    return ((page * spec.num_kv_heads + kv_head) * page_size + position % page_size) * spec.head_dim;
  }
};

class AttentionTest : public BackendTest {
 protected:
  // chunks: {first position, tokens} of each sequence in the step.
  Step MakeStep(const AttentionSpec& spec, int64_t page_size, const std::vector<std::pair<int32_t, int32_t>>& chunks) {
    Step step{.spec = spec, .page_size = page_size};
    step.sequence_begin.push_back(0);
    int32_t longest = 0;
    for (const auto& [first, count] : chunks) longest = std::max(longest, first + count);
    step.max_pages = (longest + page_size - 1) / page_size + 1;
    step.num_pages = static_cast<int64_t>(chunks.size()) * step.max_pages + 2;
    std::vector<int32_t> pages(step.num_pages);
    for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
    std::shuffle(pages.begin(), pages.end(), random_);
    step.page_table.assign(chunks.size() * step.max_pages, -1);
    for (size_t s = 0; s < chunks.size(); ++s) {
      const auto [first, count] = chunks[s];
      for (int32_t i = 0; i < count; ++i) {
        step.positions.push_back(first + i);
        step.token_sequence.push_back(static_cast<int32_t>(s));
      }
      step.sequence_begin.push_back(static_cast<int32_t>(step.positions.size()));
      for (int64_t p = 0; p * page_size < first + count; ++p) {
        step.page_table[s * step.max_pages + p] = pages.back();
        pages.pop_back();
      }
    }
    const int64_t size = step.num_pages * spec.num_kv_heads * page_size * spec.head_dim;
    step.k = Normal(size);
    step.v = Normal(size);
    return step;
  }

  std::vector<float> Attend(Step& step, const std::vector<float>& q) {
    std::vector<float> out(q.size(), NAN);
    const Shape shape{step.tokens(), step.spec.num_heads, step.spec.head_dim};
    backend_->PagedAttention(step.spec, step.Index(), View(q, shape), step.Pages(), View(out, shape));
    return out;
  }

  void ExpectAttention(Step& step) {
    const auto [num_heads, num_kv_heads, head_dim, scale, window] = step.spec;
    const std::vector<float> q = Normal(step.tokens() * num_heads * head_dim);
    const std::vector<float> out = Attend(step, q);
    for (int64_t t = 0; t < step.tokens(); ++t) {
      for (int64_t h = 0; h < num_heads; ++h) {
        const int64_t kv_head = h / (num_heads / num_kv_heads);
        const int64_t last = step.positions[t];
        const int64_t first = std::max<int64_t>(0, window.has_value() ? last - *window + 1 : 0);
        const float* query = &q[(t * num_heads + h) * head_dim];
        std::vector<double> value(head_dim), magnitude(head_dim);
        double sum = 0, score_tolerance = 0;
        for (int64_t p = first; p <= last; ++p) {
          const int64_t row = step.RowOffset(step.token_sequence[t], kv_head, p);
          double score = 0, q_norm = 0, k_norm = 0;
          for (int64_t d = 0; d < head_dim; ++d) {
            score += static_cast<double>(query[d]) * step.k[row + d];
            q_norm += static_cast<double>(query[d]) * query[d];
            k_norm += static_cast<double>(step.k[row + d]) * step.k[row + d];
          }
          score_tolerance =
              std::max(score_tolerance, DotTolerance(head_dim, std::sqrt(q_norm), std::sqrt(k_norm)) * scale);
          const double weight = std::exp(score * scale);
          sum += weight;
          for (int64_t d = 0; d < head_dim; ++d) {
            value[d] += weight * step.v[row + d];
            magnitude[d] += weight * std::abs(step.v[row + d]);
          }
        }
        // An error in a score is a relative one of its weight, in numerator and denominator.
        const double relative = 2 * score_tolerance + DotTolerance(last - first + 1, 1, 1) + 8 * kEpsilon;
        for (int64_t d = 0; d < head_dim; ++d) {
          ASSERT_NEAR(out[(t * num_heads + h) * head_dim + d], value[d] / sum, relative * magnitude[d] / sum)
              << "token " << t << " head " << h << " dimension " << d;
        }
      }
    }
  }
};
INSTANTIATE_OVER_BACKENDS(AttentionTest);

TEST_P(AttentionTest, MixesTheValuesOfAllEarlierPositions) {
  const AttentionSpec specs[] = {{.num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .scale = 0.2f},
                                 {.num_heads = 16, .num_kv_heads = 4, .head_dim = 64, .scale = 0.125f},
                                 {.num_heads = 3, .num_kv_heads = 1, .head_dim = 20, .scale = 0.2f},
                                 {.num_heads = 7, .num_kv_heads = 1, .head_dim = 5, .scale = 0.3f},
                                 {.num_heads = 2, .num_kv_heads = 2, .head_dim = 128, .scale = 0.09f}};
  for (const AttentionSpec& spec : specs) {
    for (const int64_t page_size : {1, 16, 24}) {
      SCOPED_TRACE(testing::Message() << spec.num_heads << " heads of " << spec.head_dim << ", pages " << page_size);
      // A prefill, a decode with a long context, a later chunk, a first token, and a sequence without tokens.
      Step step = MakeStep(spec, page_size, {{0, 19}, {200, 1}, {33, 7}, {0, 1}, {5, 0}});
      ExpectAttention(step);
    }
  }
}

TEST_P(AttentionTest, SeesOnlyTheSlidingWindow) {
  for (const int64_t window : {1, 16, 70, 1000}) {
    Step step = MakeStep({.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .scale = 0.25f, .sliding_window = window},
                         16, {{0, 40}, {150, 3}});
    ExpectAttention(step);
  }
}

TEST_P(AttentionTest, NeverTouchesPagesBeforeTheWindow) {
  Step step = MakeStep({.num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .scale = 0.25f, .sliding_window = 20}, 8,
                       {{100, 1}});
  for (int64_t page = 0; page < 81 / 8; ++page) step.page_table[page] = -1;  // an abort if it were read
  ExpectAttention(step);
}

TEST_P(AttentionTest, ChunksOfManyTokensMeetTheirKeysInTiles) {
  const AttentionSpec specs[] = {{.num_heads = 8, .num_kv_heads = 2, .head_dim = 64, .scale = 0.125f},
                                 {.num_heads = 2, .num_kv_heads = 2, .head_dim = 20, .scale = 0.2f},
                                 {.num_heads = 100, .num_kv_heads = 2, .head_dim = 80, .scale = 0.1f},
                                 {.num_heads = 5, .num_kv_heads = 1, .head_dim = 128, .scale = 0.09f}};
  for (const AttentionSpec& spec : specs) {
    SCOPED_TRACE(testing::Message() << spec.num_heads << " heads of " << spec.head_dim);
    // Several tiles and blocks of keys; a chunk that starts within a page and one that ends where a block does;
    // decoding sequences between them.
    Step step = MakeStep(spec, 16, {{0, 75}, {90, 1}, {37, 91}, {0, 1}, {64, 2}, {130, 1}});
    ExpectAttention(step);
  }
}

TEST_P(AttentionTest, WindowsEndWithinAndBetweenTiles) {
  for (const int64_t window : {1, 7, 63, 64, 65, 130}) {
    SCOPED_TRACE(window);
    Step step = MakeStep({.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .scale = 0.25f, .sliding_window = window},
                         8, {{0, 70}, {200, 1}, {123, 90}});
    // What no token of the last chunk sees is freed while it runs.
    const int64_t unseen = std::max<int64_t>(0, 123 - window + 1) / 8;
    for (int64_t page = 0; page < unseen; ++page) step.page_table[2 * step.max_pages + page] = -1;
    ExpectAttention(step);
  }
}

TEST_P(AttentionTest, LongContextsOfSingleTokensAreTakenInParts) {
  for (const std::optional<int64_t> window : {std::optional<int64_t>(), std::optional<int64_t>(1500)}) {
    for (const int32_t last : {1022, 1023, 1024, 2048, 3333}) {
      SCOPED_TRACE(testing::Message() << last << (window ? ", window" : ""));
      Step step = MakeStep({.num_heads = 6, .num_kv_heads = 2, .head_dim = 20, .scale = 0.2f, .sliding_window = window},
                           16, {{last, 1}});
      ExpectAttention(step);
    }
  }
}

// Alone it is divided among threads, beside many others it is one thread's.
TEST_P(AttentionTest, ATokensResultDoesNotDependOnWhatElseIsInTheStep) {
  const AttentionSpec spec = {.num_heads = 8, .num_kv_heads = 2, .head_dim = 16, .scale = 0.25f};
  Step alone = MakeStep(spec, 16, {{2500, 1}});
  const std::vector<float> q = Normal(spec.num_heads * spec.head_dim);
  const std::vector<float> expected = Attend(alone, q);
  constexpr int kSequences = 12;
  Step many = alone;
  std::vector<float> many_q;
  for (int i = 0; i < kSequences; ++i) {
    if (i > 0) {
      many.positions.push_back(alone.positions[0]);
      many.token_sequence.push_back(i);
      many.sequence_begin.push_back(i + 1);
      many.page_table.insert(many.page_table.end(), alone.page_table.begin(), alone.page_table.end());
    }
    many_q.insert(many_q.end(), q.begin(), q.end());
  }
  const std::vector<float> out = Attend(many, many_q);
  for (int i = 0; i < kSequences; ++i) {
    const auto begin = out.begin() + i * static_cast<int64_t>(q.size());
    EXPECT_EQ(std::vector<float>(begin, begin + static_cast<int64_t>(q.size())), expected) << "sequence " << i;
  }
}

// What the prefix cache rests on where it promises the same bits (docs/PREFIX_CACHE.md).
TEST_P(AttentionTest, ATokensResultDoesNotDependOnWhereItsSequenceWasCut) {
  constexpr int32_t kTokens = 150;
  for (const int64_t heads : {2, 6}) {
    for (const std::optional<int64_t> window : {std::optional<int64_t>(), std::optional<int64_t>(50)}) {
      Step whole =
          MakeStep({.num_heads = heads, .num_kv_heads = 2, .head_dim = 24, .scale = 0.2f, .sliding_window = window}, 16,
                   {{0, kTokens}});
      const int64_t token_size = heads * whole.spec.head_dim;
      const std::vector<float> q = Normal(kTokens * token_size);
      const std::vector<float> expected = Attend(whole, q);
      for (const int32_t first : {1, 16, 63, 64, 97, kTokens - 3, kTokens - 2}) {
        SCOPED_TRACE(testing::Message() << heads << " heads, from " << first << (window ? ", window" : ""));
        Step rest = whole;
        rest.positions.erase(rest.positions.begin(), rest.positions.begin() + first);
        rest.token_sequence.resize(rest.positions.size());
        rest.sequence_begin.back() = static_cast<int32_t>(rest.positions.size());
        const std::vector<float> got = Attend(rest, {q.begin() + first * token_size, q.end()});
        EXPECT_EQ(got, std::vector<float>(expected.begin() + first * token_size, expected.end()));
      }
    }
  }
}

TEST_P(AttentionTest, ANanSequenceHarmsNoOther) {
  Step step = MakeStep({.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .scale = 0.25f}, 8, {{10, 30}, {5, 30}});
  for (int64_t p = 0; p < 40; ++p) std::fill_n(&step.v[step.RowOffset(0, 0, p)], 16, NAN);
  std::vector<float> q = Normal(60 * 4 * 16), out(60 * 4 * 16);
  backend_->PagedAttention(step.spec, step.Index(), View(q, {60, 4, 16}), step.Pages(), View(out, {60, 4, 16}));
  for (size_t i = 0; i < out.size(); ++i) {
    const bool is_first = i < 30 * 4 * 16 && i / 16 % 4 < 2;
    ASSERT_EQ(std::isnan(out[i]), is_first) << i;
  }
}

// Of one KV head, in prefills and decodes.
TEST_P(AttentionTest, ANanKeyReachesEveryTokenThatSeesIt) {
  const PagedSequences sequences = {.spec = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .scale = 0.2f},
                                    .lengths = {150, 90}};
  for (const DType dtype : {DType::kFloat32, DType::kFloat8E4M3, DType::kInt8}) {
    for (const int64_t position : {0, 63, 70, 149}) {
      SCOPED_TRACE(testing::Message() << Name(dtype) << " position " << position);
      std::vector<float> qkv = Normal((150 + 90) * 8 * 32);
      qkv[(position * 8 + 5) * 32 + 11] = NAN;  // of 8 heads: 4 of queries, the first sequence's second key head
      PagedCache cache(*backend_, dtype, sequences, 1);
      const auto expect_nan = [&](int64_t from, int64_t to) {
        const std::vector<float> out = cache.Run(qkv, {}, from, to);
        for (size_t i = 0; i < out.size(); ++i) {
          const int64_t token = from + static_cast<int64_t>(i) / (4 * 32);
          const bool sees_it = token < 150 && token >= position && i / 32 % 4 >= 2;
          ASSERT_EQ(std::isnan(out[i]), sees_it) << "token " << token << " element " << i;
        }
      };
      expect_nan(0, 150);
      expect_nan(149, 150);
    }
  }
}

TEST_P(AttentionTest, SurvivesLargeScores) {
  Step step = MakeStep({.num_heads = 4, .num_kv_heads = 4, .head_dim = 16, .scale = 1.0f}, 16, {{99, 1}});
  for (float& k : step.k) k *= 100;
  const std::vector<float> q = Normal(4 * 16);
  std::vector<float> out(4 * 16);
  backend_->PagedAttention(step.spec, step.Index(), View(q, {1, 4, 16}), step.Pages(), View(out, {1, 4, 16}));
  for (const float value : out) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(AttentionTest, DoesNothingWithoutTokens) {
  Step step = MakeStep({.num_heads = 2, .num_kv_heads = 1, .head_dim = 16}, 16, {});
  std::vector<float> none;
  backend_->PagedAttention(step.spec, step.Index(), View(none, {0, 2, 16}), step.Pages(), View(none, {0, 2, 16}));
  const std::vector<float> inv_freq = {1.0f};
  backend_->RopeAppendKv(step.spec, {inv_freq}, step.Index(), View(none, {0, 64}), View(none, {0, 2, 16}),
                         step.Pages());
}

TEST_P(AttentionTest, RopeTurnsQueriesAndKeysAndFilesThemByPosition) {
  for (const int64_t rotary_dim : {0, 8, 20}) {
    const int64_t heads = 6, kv_heads = 2, head_dim = 20, half = rotary_dim / 2;
    Step step = MakeStep({.num_heads = heads, .num_kv_heads = kv_heads, .head_dim = head_dim}, 4, {{0, 9}, {30000, 2}});
    const std::vector<float> k_before = step.k;
    std::vector<float> inv_freq;
    for (int64_t i = 0; i < half; ++i) inv_freq.push_back(std::pow(10000.0f, -2.0f * i / rotary_dim));
    const float factor = 1.25f;
    const int64_t width = (heads + 2 * kv_heads) * head_dim;
    const std::vector<float> qkv = Normal(step.tokens() * width);
    std::vector<float> q(step.tokens() * heads * head_dim, NAN);
    backend_->RopeAppendKv(step.spec, {inv_freq, factor}, step.Index(), View(qkv, {step.tokens(), width}),
                           View(q, {step.tokens(), heads, head_dim}), step.Pages());
    size_t keys_written = 0;
    for (int64_t t = 0; t < step.tokens(); ++t) {
      const auto expect_turned = [&](const float* before, const float* after) {
        for (int64_t d = 0; d < head_dim; ++d) {
          if (d >= rotary_dim) {
            ASSERT_EQ(after[d], before[d]);
            continue;
          }
          const float angle = static_cast<float>(step.positions[t]) * inv_freq[d % half];
          const double c = std::cos(static_cast<double>(angle)), s = std::sin(static_cast<double>(angle));
          const double turned = d < half ? before[d] * c - before[d + half] * s : before[d] * c + before[d - half] * s;
          ASSERT_NEAR(after[d], factor * turned, 16 * kEpsilon * factor * 4) << "token " << t << " dimension " << d;
        }
      };
      for (int64_t h = 0; h < heads; ++h) {
        expect_turned(&qkv[t * width + h * head_dim], &q[(t * heads + h) * head_dim]);
      }
      for (int64_t h = 0; h < kv_heads; ++h) {
        const int64_t row = step.RowOffset(step.token_sequence[t], h, step.positions[t]);
        expect_turned(&qkv[t * width + (heads + h) * head_dim], &step.k[row]);
        for (int64_t d = 0; d < head_dim; ++d) {
          ASSERT_EQ(step.v[row + d], qkv[t * width + (heads + kv_heads + h) * head_dim + d]);
        }
        keys_written += head_dim;
      }
    }
    size_t changed = 0;
    for (size_t i = 0; i < step.k.size(); ++i) changed += step.k[i] != k_before[i];
    EXPECT_EQ(changed, keys_written) << "other rows of the cache are left alone";
  }
}

}  // namespace
}  // namespace switchyard
