// The write of keys and values in 8 bits on the device, against the rule of kernels/kv_scale.h applied on the host.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/cuda/rope.h"
#include "kernels/kv_scale.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

constexpr uint8_t kUntouched = 0xAB;

struct RopeCase {
  int64_t num_tokens, num_heads, num_kv_heads, head_dim, rotary_dim;
  int64_t page_size = 4;
};

// Tokens of one sequence at positions 0, 1, ..., pages in reverse order; the last token is padding.
class RopeKvDTypeTest : public HalfTest {
 protected:
  struct Rows {
    std::vector<uint8_t> codes;  // [pages, kv_heads, page_size, head_dim]
    std::vector<float> scales;   // [pages, kv_heads, page_size]
  };

  // One launch; the results are in q_, k_ and v_.
  void Launch(DType kv_dtype, const RopeCase& c, const std::vector<uint16_t>& qkv);
  // The same, and checks them.
  void Run(DType kv_dtype, const RopeCase& c, const std::vector<uint16_t>& qkv);
  void RunForEveryType(const RopeCase& c) {
    const int64_t rows = c.num_tokens * (c.num_heads + 2 * c.num_kv_heads);
    for (const DType kv_dtype : {DType::kFloat8E4M3, DType::kInt8}) {
      SCOPED_TRACE(Name(kv_dtype));
      Run(kv_dtype, c, RandomHalves(GetParam(), rows * c.head_dim, random_));
    }
  }
  int64_t RowOf(const RopeCase& c, int64_t position, int64_t kv_head) const {
    const int64_t page = num_pages_ - 1 - position / c.page_size;
    return (page * c.num_kv_heads + kv_head) * c.page_size + position % c.page_size;
  }
  void ExpectRow(const RopeCase& c, DType kv_dtype, const Rows& got, int64_t row, const std::vector<double>& values,
                 double error);

  static float InvFreq(int64_t i) { return 1.0f / static_cast<float>(1 + i); }

  int64_t num_pages_ = 0;
  Rows k_, v_;
  std::vector<uint16_t> q_;
};
INSTANTIATE_TEST_SUITE_P(Types, RopeKvDTypeTest, HalfTypes(), HalfTypeName);

// Row `row` is `values` in 8 bits, if these have the absolute error `error`.
void RopeKvDTypeTest::ExpectRow(const RopeCase& c, DType kv_dtype, const Rows& got, int64_t row,
                                const std::vector<double>& values, double error) {
  float largest = 0;
  for (const double value : values) largest = std::max(largest, static_cast<float>(std::abs(value)));
  const float largest_element = kv_dtype == DType::kInt8 ? 127.0f : kFloat8E4M3Max;
  const float scale = got.scales[row];
  ASSERT_NEAR(scale, KvScaleOf(std::bit_cast<uint32_t>(largest), largest_element).scale, error / largest_element);
  for (int64_t d = 0; d < c.head_dim; ++d) {
    const uint8_t code = got.codes[row * c.head_dim + d];
    const double element =
        kv_dtype == DType::kInt8 ? static_cast<double>(static_cast<int8_t>(code)) : FloatFromFloat8E4M3({code});
    const double half_step =
        kv_dtype == DType::kInt8 ? scale / 2 : std::max(std::abs(values[d]) * 0x1p-4, scale * 0x1p-10);
    ASSERT_NEAR(scale * element, values[d], half_step * 1.0001 + error) << "row " << row << " element " << d;
  }
}

void RopeKvDTypeTest::Launch(DType kv_dtype, const RopeCase& c, const std::vector<uint16_t>& qkv) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < c.rotary_dim / 2; ++i) inv_freq.push_back(InvFreq(i));
  num_pages_ = (c.num_tokens + c.page_size - 1) / c.page_size + 1;
  std::vector<int32_t> page_table(num_pages_), positions(c.num_tokens), sequences(c.num_tokens, 0);
  for (int64_t p = 0; p < num_pages_; ++p) page_table[p] = static_cast<int32_t>(num_pages_ - 1 - p);
  std::iota(positions.begin(), positions.end(), 0);
  sequences.back() = -1;

  const int64_t num_rows = num_pages_ * c.num_kv_heads * c.page_size;
  const DeviceVector<uint16_t> device_qkv(qkv);
  const DeviceVector<float> device_inv_freq(inv_freq);
  const DeviceVector<int32_t> device_positions(positions), device_sequences(sequences), device_table(page_table);
  const DeviceVector<uint16_t> q(c.num_tokens * c.num_heads * c.head_dim);
  const DeviceVector<uint8_t> k(std::vector<uint8_t>(num_rows * c.head_dim, kUntouched));
  const DeviceVector<uint8_t> v(std::vector<uint8_t>(num_rows * c.head_dim, kUntouched));
  const DeviceVector<float> k_scales(std::vector<float>(num_rows, -1.0f));
  const DeviceVector<float> v_scales(std::vector<float>(num_rows, -1.0f));
  RopeAppendKv({.dtype = GetParam(),
                .kv_dtype = kv_dtype,
                .num_tokens = c.num_tokens,
                .num_heads = c.num_heads,
                .num_kv_heads = c.num_kv_heads,
                .head_dim = c.head_dim,
                .qkv = device_qkv.data(),
                .inv_freq = device_inv_freq.data(),
                .rotary_dim = c.rotary_dim,
                .positions = device_positions.data(),
                .token_sequence = device_sequences.data(),
                .page_table = device_table.data(),
                .page_table_width = num_pages_,
                .page_size = c.page_size,
                .q_out = q.data(),
                .k_pages = k.data(),
                .v_pages = v.data(),
                .k_scales = k_scales.data(),
                .v_scales = v_scales.data()},
               TestStream());
  q_ = q.ToHost();
  k_ = {k.ToHost(), k_scales.ToHost()};
  v_ = {v.ToHost(), v_scales.ToHost()};
}

void RopeKvDTypeTest::Run(DType kv_dtype, const RopeCase& c, const std::vector<uint16_t>& qkv) {
  SCOPED_TRACE(testing::Message() << c.num_tokens << " tokens, " << c.num_heads << "/" << c.num_kv_heads << " heads of "
                                  << c.head_dim << ", " << c.rotary_dim << " turn");
  Launch(kv_dtype, c, qkv);
  const DType dtype = GetParam();
  const int64_t half = c.rotary_dim / 2;
  int64_t num_written = 0;
  for (int64_t t = 0; t + 1 < c.num_tokens; ++t) {
    const auto turned = [&](int64_t head, bool turns) {
      const uint16_t* in = &qkv[(t * (c.num_heads + 2 * c.num_kv_heads) + head) * c.head_dim];
      std::vector<double> values(c.head_dim);
      for (int64_t i = 0; i < c.head_dim; ++i) values[i] = FloatFromHalf(dtype, in[i]);
      for (int64_t i = 0; turns && i < half; ++i) {
        const double angle = static_cast<float>(t) * InvFreq(i);
        const double x = FloatFromHalf(dtype, in[i]);
        const double y = FloatFromHalf(dtype, in[i + half]);
        values[i] = x * std::cos(angle) - y * std::sin(angle);
        values[i + half] = y * std::cos(angle) + x * std::sin(angle);
      }
      return values;
    };
    for (int64_t h = 0; h < c.num_kv_heads; ++h) {
      const int64_t row = RowOf(c, t, h);
      ASSERT_NO_FATAL_FAILURE(ExpectRow(c, kv_dtype, k_, row, turned(c.num_heads + h, true), 1e-5));
      ASSERT_NO_FATAL_FAILURE(ExpectRow(c, kv_dtype, v_, row, turned(c.num_heads + c.num_kv_heads + h, false), 1e-9));
      ++num_written;
    }
    for (int64_t h = 0; h < c.num_heads; ++h) {
      const std::vector<double> expected = turned(h, true);
      for (int64_t i = 0; i < c.head_dim; ++i) {
        ASSERT_NEAR(FloatFromHalf(dtype, q_[(t * c.num_heads + h) * c.head_dim + i]), expected[i],
                    HalfRounding(dtype, expected[i]) + 1e-5);
      }
    }
  }
  for (const Rows* rows : {&k_, &v_}) {
    EXPECT_EQ(std::count(rows->scales.begin(), rows->scales.end(), -1.0f),
              static_cast<int64_t>(rows->scales.size()) - num_written);
  }
}

TEST_P(RopeKvDTypeTest, WritesElementsAndScales) {
  RunForEveryType({.num_tokens = 6, .num_heads = 4, .num_kv_heads = 2, .head_dim = 64, .rotary_dim = 64});
  RunForEveryType({.num_tokens = 3, .num_heads = 32, .num_kv_heads = 8, .head_dim = 128, .rotary_dim = 128});
  RunForEveryType({.num_tokens = 3, .num_heads = 2, .num_kv_heads = 1, .head_dim = 256, .rotary_dim = 64});
  RunForEveryType({.num_tokens = 3, .num_heads = 2, .num_kv_heads = 2, .head_dim = 80, .rotary_dim = 80});
}

TEST_P(RopeKvDTypeTest, FindsTheLargestOfHeadsThatShareWarpsAndBlocks) {
  RunForEveryType({.num_tokens = 3, .num_heads = 5, .num_kv_heads = 3, .head_dim = 144, .rotary_dim = 0});
  RunForEveryType({.num_tokens = 3, .num_heads = 96, .num_kv_heads = 8, .head_dim = 128, .rotary_dim = 128});
  RunForEveryType({.num_tokens = 3, .num_heads = 7, .num_kv_heads = 3, .head_dim = 96, .rotary_dim = 22});
  RunForEveryType({.num_tokens = 2, .num_heads = 3, .num_kv_heads = 2, .head_dim = 256, .rotary_dim = 12});
}

TEST_P(RopeKvDTypeTest, TiesGoToTheEvenElement) {
  const RopeCase c = {.num_tokens = 2, .num_heads = 1, .num_kv_heads = 1, .head_dim = 64, .rotary_dim = 64};
  const auto expect = [&](DType kv_dtype, float largest, const std::vector<std::pair<float, uint8_t>>& values) {
    std::vector<uint16_t> qkv(2 * 3 * 64, 0);
    uint16_t* value = &qkv[2 * 64];
    value[63] = HalfFromFloat(GetParam(), largest);  // the scale is 1
    for (size_t i = 0; i < values.size(); ++i) value[i] = HalfFromFloat(GetParam(), values[i].first);
    Launch(kv_dtype, c, qkv);
    ASSERT_EQ(v_.scales[RowOf(c, 0, 0)], 1.0f);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(v_.codes[RowOf(c, 0, 0) * 64 + i], values[i].second) << values[i].first;
    }
  };
  expect(DType::kInt8, 127.0f,
         {{0.5f, 0}, {1.5f, 2}, {2.5f, 2}, {-0.5f, 0}, {-1.5f, 0xFE}, {62.5f, 62}, {-127.0f, 0x81}});
  expect(DType::kFloat8E4M3, 448.0f,
         {{1.0625f, 0x38},
          {1.1875f, 0x3A},
          {-1.0625f, 0xB8},
          {0x1p-10f, 0},
          {0x1.8p-9f, 2},
          {432.0f, 0x7E},
          {416.0f, 0x7D}});
}

TEST_P(RopeKvDTypeTest, ZerosAndWhatIsNoNumberStayInTheirHead) {
  const RopeCase c = {.num_tokens = 3, .num_heads = 1, .num_kv_heads = 2, .head_dim = 32, .rotary_dim = 32};
  std::vector<uint16_t> qkv = RandomHalves(GetParam(), 3 * 5 * 32, random_);
  const auto head = [&](int64_t token, int64_t h) { return &qkv[(token * 5 + h) * 32]; };
  std::fill_n(head(0, 1), 32, uint16_t{0});             // key of KV head 0
  head(1, 3)[5] = HalfFromFloat(GetParam(), INFINITY);  // value of KV head 0
  for (const DType kv_dtype : {DType::kFloat8E4M3, DType::kInt8}) {
    // The host's rule covers the rest.
    std::vector<uint16_t> finite = qkv;
    finite[(5 + 3) * 32 + 5] = 0;
    ASSERT_NO_FATAL_FAILURE(Run(kv_dtype, c, finite));
    const Rows clean_k = k_, clean_v = v_;
    EXPECT_EQ(k_.scales[RowOf(c, 0, 0)], 0.0f);
    EXPECT_EQ(std::vector<uint8_t>(&k_.codes[RowOf(c, 0, 0) * 32], &k_.codes[RowOf(c, 0, 0) * 32] + 32),
              std::vector<uint8_t>(32, 0));
    Launch(kv_dtype, c, qkv);
    EXPECT_TRUE(std::isnan(v_.scales[RowOf(c, 1, 0)]));
    EXPECT_EQ(v_.scales[RowOf(c, 1, 1)], clean_v.scales[RowOf(c, 1, 1)]);
    EXPECT_EQ(k_.codes, clean_k.codes);
    EXPECT_EQ(k_.scales, clean_k.scales);
  }
}

}  // namespace
}  // namespace switchyard::cuda
