// Rotary embedding and the write into KV pages on the device, against double precision.
#include "kernels/cuda/rope.h"

#include <numeric>

#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

constexpr uint16_t kUntouched = 0xABCD;

struct RopeCase {
  int64_t num_tokens, num_heads, num_kv_heads, head_dim, rotary_dim, page_size;
  int64_t max_position = 50;
  float attention_factor = 1.0f;
};

class RopeAppendKvTest : public HalfTest {
 protected:
  void Run(const RopeCase& c);
};
INSTANTIATE_TEST_SUITE_P(Types, RopeAppendKvTest, HalfTypes(), HalfTypeName);

// Every fourth token is padding; the others have different (sequence, position), in pages in random order.
void RopeAppendKvTest::Run(const RopeCase& c) {
  SCOPED_TRACE(testing::Message() << c.num_tokens << " tokens, " << c.num_heads << "/" << c.num_kv_heads << " heads of "
                                  << c.head_dim << ", " << c.rotary_dim << " turn, pages of " << c.page_size);
  const DType dtype = GetParam();
  const int64_t half = c.rotary_dim / 2;
  std::vector<float> inv_freq(half);
  for (int64_t i = 0; i < half; ++i) {
    inv_freq[i] = static_cast<float>(std::pow(1e4, -static_cast<double>(i) / static_cast<double>(half)));
  }

  // Sequences with one token each, in a table that names just the pages needed.
  const int64_t width = c.max_position / c.page_size + 1;
  const int64_t num_pages = 2 * c.num_tokens;
  std::vector<int32_t> free_pages(num_pages);
  std::iota(free_pages.begin(), free_pages.end(), 0);
  std::shuffle(free_pages.begin(), free_pages.end(), random_);
  std::vector<int32_t> page_table(c.num_tokens * width, -1);
  std::vector<int32_t> positions(c.num_tokens);
  std::vector<int32_t> sequences(c.num_tokens);
  for (int64_t t = 0; t < c.num_tokens; ++t) {
    positions[t] = static_cast<int32_t>(t == 0 ? c.max_position : Uniform(0, c.max_position));
    sequences[t] = static_cast<int32_t>(t % 4 == 3 ? -1 : c.num_tokens - 1 - t);
    if (sequences[t] >= 0) page_table[sequences[t] * width + positions[t] / c.page_size] = free_pages[t];
  }

  const int64_t rows = c.num_heads + 2 * c.num_kv_heads;
  const std::vector<uint16_t> qkv = RandomHalves(dtype, c.num_tokens * rows * c.head_dim, random_);
  std::vector<uint16_t> k_pages(num_pages * c.num_kv_heads * c.page_size * c.head_dim, kUntouched);
  const DeviceVector<uint16_t> device_qkv(qkv);
  const DeviceVector<float> device_inv_freq(inv_freq);
  const DeviceVector<int32_t> device_positions(positions);
  const DeviceVector<int32_t> device_sequences(sequences);
  const DeviceVector<int32_t> device_table(page_table);
  DeviceVector<uint16_t> device_q(std::vector<uint16_t>(c.num_tokens * c.num_heads * c.head_dim, kUntouched));
  DeviceVector<uint16_t> device_k(k_pages);
  DeviceVector<uint16_t> device_v(k_pages);
  RopeAppendKv({.dtype = dtype,
                .num_tokens = c.num_tokens,
                .num_heads = c.num_heads,
                .num_kv_heads = c.num_kv_heads,
                .head_dim = c.head_dim,
                .qkv = device_qkv.data(),
                .inv_freq = device_inv_freq.data(),
                .rotary_dim = c.rotary_dim,
                .attention_factor = c.attention_factor,
                .positions = device_positions.data(),
                .token_sequence = device_sequences.data(),
                .page_table = device_table.data(),
                .page_table_width = width,
                .page_size = c.page_size,
                .q_out = device_q.data(),
                .k_pages = device_k.data(),
                .v_pages = device_v.data()},
               TestStream());

  const std::vector<uint16_t> q = device_q.ToHost();
  std::vector<uint16_t> k = device_k.ToHost();
  std::vector<uint16_t> v = device_v.ToHost();
  // Element i of head `row` of token t, turned if `turns`.
  const auto expect_row = [&](int64_t t, int64_t row, bool turns, const uint16_t* out) {
    const uint16_t* in = &qkv[(t * rows + row) * c.head_dim];
    for (int64_t i = 0; i < c.head_dim; ++i) {
      if (!turns || i >= c.rotary_dim) {
        ASSERT_EQ(out[i], in[i]) << "token " << t << " head " << row << " element " << i;
        continue;
      }
      const float angle = static_cast<float>(positions[t]) * inv_freq[i % half];  // float32, as the reference
      const double self = FloatFromHalf(dtype, in[i]);
      const double other = FloatFromHalf(dtype, in[i < half ? i + half : i - half]);
      const double turned = self * std::cos(double{angle}) + (i < half ? -other : other) * std::sin(double{angle});
      const double expected = turned * c.attention_factor;
      // Sine and cosine within 2 ulp, then four roundings.
      const double error = 6 * 0x1p-24 * std::hypot(self, other) * c.attention_factor;
      ASSERT_NEAR(FloatFromHalf(dtype, out[i]), expected, HalfRounding(dtype, expected) + 1.01 * error)
          << "token " << t << " head " << row << " element " << i << " position " << positions[t];
    }
  };
  for (int64_t t = 0; t < c.num_tokens; ++t) {
    for (int64_t h = 0; h < c.num_heads; ++h) {
      const uint16_t* out = &q[(t * c.num_heads + h) * c.head_dim];
      if (sequences[t] < 0) {
        for (int64_t i = 0; i < c.head_dim; ++i) ASSERT_EQ(out[i], kUntouched) << "padding row " << t;
      } else {
        expect_row(t, h, true, out);
      }
    }
    if (sequences[t] < 0) continue;
    for (int64_t h = 0; h < c.num_kv_heads; ++h) {
      const int64_t at = ((free_pages[t] * c.num_kv_heads + h) * c.page_size + positions[t] % c.page_size) * c.head_dim;
      expect_row(t, c.num_heads + h, true, &k[at]);
      expect_row(t, c.num_heads + c.num_kv_heads + h, false, &v[at]);
      std::fill_n(&k[at], c.head_dim, kUntouched);
      std::fill_n(&v[at], c.head_dim, kUntouched);
    }
  }
  EXPECT_EQ(k, k_pages) << "other rows of the pages are written";
  EXPECT_EQ(v, k_pages) << "other rows of the pages are written";
}

TEST_P(RopeAppendKvTest, TurnsQueriesAndKeysAndWritesPages) {
  Run({.num_tokens = 1, .num_heads = 32, .num_kv_heads = 8, .head_dim = 128, .rotary_dim = 128, .page_size = 16});
  Run({.num_tokens = 9, .num_heads = 4, .num_kv_heads = 2, .head_dim = 64, .rotary_dim = 64, .page_size = 16});
  Run({.num_tokens = 5, .num_heads = 6, .num_kv_heads = 1, .head_dim = 256, .rotary_dim = 256, .page_size = 3});
  Run({.num_tokens = 6, .num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .rotary_dim = 16, .page_size = 1});
}

TEST_P(RopeAppendKvTest, DividesManyHeadsAmongBlocks) {
  Run({.num_tokens = 3, .num_heads = 96, .num_kv_heads = 8, .head_dim = 128, .rotary_dim = 128, .page_size = 4});
}

TEST_P(RopeAppendKvTest, LetsTheRestOfAHeadPass) {
  Run({.num_tokens = 5, .num_heads = 3, .num_kv_heads = 2, .head_dim = 128, .rotary_dim = 64, .page_size = 8});
  Run({.num_tokens = 5, .num_heads = 3, .num_kv_heads = 2, .head_dim = 40, .rotary_dim = 16, .page_size = 8});
  Run({.num_tokens = 2, .num_heads = 2, .num_kv_heads = 2, .head_dim = 24, .rotary_dim = 0, .page_size = 8});
}

TEST_P(RopeAppendKvTest, TurnsDimensionsThatDoNotFillVectors) {
  Run({.num_tokens = 7, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .rotary_dim = 8, .page_size = 5});
  Run({.num_tokens = 3, .num_heads = 5, .num_kv_heads = 1, .head_dim = 24, .rotary_dim = 24, .page_size = 2});
  Run({.num_tokens = 3, .num_heads = 5, .num_kv_heads = 1, .head_dim = 96, .rotary_dim = 22, .page_size = 2});
}

TEST_P(RopeAppendKvTest, IsAccurateAtFarPositions) {
  Run({.num_tokens = 24,
       .num_heads = 2,
       .num_kv_heads = 1,
       .head_dim = 64,
       .rotary_dim = 64,
       .page_size = 16,
       .max_position = 1'000'000});
}

TEST_P(RopeAppendKvTest, MultipliesByTheAttentionFactor) {
  Run({.num_tokens = 4,
       .num_heads = 2,
       .num_kv_heads = 1,
       .head_dim = 64,
       .rotary_dim = 32,
       .page_size = 16,
       .attention_factor = 1.375f});
}

TEST_P(RopeAppendKvTest, AcceptsNoTokens) {
  Run({.num_tokens = 0, .num_heads = 2, .num_kv_heads = 1, .head_dim = 64, .rotary_dim = 64, .page_size = 16});
}

}  // namespace
}  // namespace switchyard::cuda
