// Both forms of paged attention over keys and values of 8 bits, against a plain loop in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>

#include "kernels/cuda/paged_attention.h"
#include "tests/kernels/cuda/paged_attention_step.h"

namespace switchyard::cuda {
namespace {

struct Types {
  DType dtype;
  DType kv_dtype;
};
constexpr Types kTypes[] = {{DType::kBFloat16, DType::kFloat8E4M3},
                            {DType::kBFloat16, DType::kInt8},
                            {DType::kFloat16, DType::kFloat8E4M3},
                            {DType::kFloat16, DType::kInt8}};

void ExpectForEveryType(AttentionStep step) {
  for (const auto [dtype, kv_dtype] : kTypes) {
    step.dtype = dtype;
    step.kv_dtype = kv_dtype;
    ExpectCorrectAttention(step);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(PagedAttentionOf8Bits, DecodesWithEveryHeadSize) {
  for (const int64_t head_dim : {16, 48, 64, 80, 128, 144, 256}) {
    ExpectForEveryType({.head_dim = head_dim, .sequences = {{1}, {17}, {290}}, .num_multiprocessors = 4});
  }
}

TEST(PagedAttentionOf8Bits, PrefillsWithEveryHeadSize) {
  for (const int64_t head_dim : {16, 48, 64, 80, 128, 144, 256}) {
    ExpectForEveryType({.head_dim = head_dim, .sequences = {{2, 2}, {70, 70}, {140, 30}}});
  }
}

TEST(PagedAttentionOf8Bits, CrossesPagesAndParts) {
  for (const int64_t page_size : {1, 3, 16}) {
    ExpectForEveryType({.head_dim = 128,
                        .page_size = page_size,
                        .sequences = {{15}, {64}, {65}, {128}, {129}, {257}, {400}},
                        .num_multiprocessors = 24});
  }
}

TEST(PagedAttentionOf8Bits, ServesMixedStepsWithAWindow) {
  ExpectForEveryType({.num_heads = 6,
                      .head_dim = 128,
                      .page_size = 3,
                      .window = 90,
                      .sequences = {{100, 1}, {70, 70}, {.context = 0, .tokens = 0}, {33, 1}, {150, 20}, {1, 1}},
                      .num_padding_rows = 3,
                      .num_multiprocessors = 16});
}

TEST(PagedAttentionOf8Bits, SharesKeysInLargeGroups) {
  for (const int64_t group : {1, 5, 16, 17}) {
    ExpectForEveryType({.num_heads = 2 * group, .head_dim = 32, .sequences = {{9}, {150}}, .num_multiprocessors = 8});
  }
}

// Weights near 2^-12, times scales: float16 holds both factors together only in the right unit.
TEST(PagedAttentionOf8Bits, KeepsFlatDistributionsOverManyKeys) {
  ExpectForEveryType(
      {.num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .sequences = {{4000}}, .query_deviation = 0.0f});
}

TEST(PagedAttentionOf8Bits, MatchesThePlainLoopInRandomSteps) {
  std::mt19937 random(11);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (uint32_t i = 0; i < 24; ++i) {
    const auto [dtype, kv_dtype] = kTypes[i % 4];
    AttentionStep step = {.dtype = dtype,
                          .kv_dtype = kv_dtype,
                          .num_kv_heads = draw(1, 3),
                          .head_dim = 16 * draw(1, 12),
                          .page_size = draw(1, 20)};
    step.num_heads = step.num_kv_heads * draw(1, 8);
    step.window = draw(0, 1) * draw(1, 150);
    step.num_padding_rows = draw(0, 2);
    step.num_multiprocessors = static_cast<int>(draw(1, 60));
    step.seed = i;
    for (int64_t s = draw(1, 4); s > 0; --s) {
      const int64_t context = draw(1, 180);
      step.sequences.push_back(
          {.context = context, .tokens = i % 3 == 0 ? 1 : draw(1, std::min<int64_t>(context, 40))});
    }
    ExpectCorrectAttention(step);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace switchyard::cuda
