// Both forms of paged attention against a plain loop in double precision.
#include "kernels/cuda/paged_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>

#include "kernels/cuda/paged_attention_forms.h"
#include "tests/kernels/cuda/paged_attention_step.h"

namespace switchyard::cuda {
namespace {

constexpr DType kDTypes[] = {DType::kBFloat16, DType::kFloat16};

TEST(PagedAttentionDecode, MatchesThePlainLoopForEveryHeadSize) {
  for (const DType dtype : kDTypes) {
    for (const int64_t head_dim : {8, 16, 24, 64, 72, 128, 136, 256}) {
      ExpectCorrectAttention(
          {.dtype = dtype, .head_dim = head_dim, .sequences = {{1}, {17}, {130}}, .num_multiprocessors = 4});
    }
  }
}

TEST(PagedAttentionDecode, SharesKeysInGroupsOfAnySize) {
  for (const int64_t group : {1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 35}) {
    ExpectCorrectAttention(
        {.num_heads = 2 * group, .head_dim = 16, .sequences = {{9}, {70}}, .num_multiprocessors = 8});
  }
}

TEST(PagedAttentionDecode, CrossesPagesAndParts) {
  for (const int64_t page_size : {1, 3, 16}) {
    for (const int64_t head_dim : {64, 128, 256}) {
      ExpectCorrectAttention({.head_dim = head_dim,
                              .page_size = page_size,
                              .sequences = {{15}, {16}, {63}, {64}, {65}, {128}, {129}, {257}, {400}},
                              .num_multiprocessors = 24});
    }
  }
}

TEST(PagedAttentionDecode, NeedsNoSplits) {
  ExpectCorrectAttention({.sequences = {{1}, {100}, {300}}, .num_multiprocessors = 1});
}

TEST(PagedAttentionDecode, LooksBackOneWindow) {
  for (const int64_t window : {1, 2, 31, 64, 100, 1000}) {
    ExpectCorrectAttention({.head_dim = 16,
                            .page_size = 3,
                            .window = window,
                            .sequences = {{1}, {2}, {31}, {32}, {33}, {200}, {333}},
                            .num_multiprocessors = 20});
  }
}

// A recorded step: rows and sequences fill a bucket, and the host knows only the largest context there may be.
TEST(PagedAttentionDecode, FitsARecordedStep) {
  for (const int64_t window : {0, 50}) {
    ExpectCorrectAttention({.window = window,
                            .sequences = {{5}, {.context = 0, .tokens = 0}, {200}, {64}, {.context = 0, .tokens = 0}},
                            .num_padding_rows = 2,
                            .spare_context = 4000,
                            .num_multiprocessors = 132});
  }
}

TEST(PagedAttentionDecode, ZeroesAStepOfPaddingAlone) {
  ExpectCorrectAttention(
      {.sequences = {{.context = 0, .tokens = 0}, {.context = 0, .tokens = 0}}, .num_padding_rows = 2});
  ExpectCorrectAttention({.sequences = {}, .num_padding_rows = 3});
  ExpectCorrectAttention({.sequences = {{3}}, .num_padding_rows = 5});
}

TEST(PagedAttentionDecode, KeepsSharpAndFlatDistributions) {
  for (const float deviation : {0.0f, 30.0f}) {
    ExpectCorrectAttention({.sequences = {{90}, {300}}, .num_multiprocessors = 8, .query_deviation = deviation});
    ExpectCorrectAttention({.sequences = {{150, 20}}, .query_deviation = deviation});
  }
}

// Granules of 128, 64 and 32 keys, for head sizes of 64, 128 and 256: three of them are one part, one key more is not.
TEST(PagedAttentionDecode, SplitsNoFewerKeysThanPay) {
  for (const int64_t head_dim : {64, 128, 256}) {
    const int64_t granule = 8192 / head_dim;
    ExpectCorrectAttention({.head_dim = head_dim,
                            .sequences = {{granule}, {3 * granule}, {3 * granule + 1}, {4 * granule}},
                            .spare_context = 1000,
                            .num_multiprocessors = 64});
  }
}

// Parts times heads of a block: 33 * 16 are added up in a launch of their own, 32 * 16 and 33 * 15 are not.
TEST(PagedAttentionDecode, CombinesManyPartsInALaunchOfTheirOwn) {
  for (const int64_t heads : {15, 16}) {
    ExpectCorrectAttention({.num_heads = heads,
                            .num_kv_heads = 1,
                            .head_dim = 136,
                            .sequences = {{33 * 64}, {32 * 64}, {65}, {1}},
                            .num_multiprocessors = 64});
  }
  // Two blocks of heads, one of which has but one.
  ExpectCorrectAttention(
      {.num_heads = 17, .num_kv_heads = 1, .head_dim = 136, .sequences = {{33 * 64}}, .num_multiprocessors = 64});
}

TEST(PagedAttentionDecode, UsesNoMoreScratchThanPromised) {
  for (const int64_t sequences : {1, 2, 3, 7, 100, 256, 257, 512, 513, 1024}) {
    for (const int64_t kv_heads : {1, 2, 8, 32}) {
      for (const int multiprocessors : {1, 46, 132, 188, 1000}) {
        const PagedAttentionArgs args = {.num_sequences = sequences,
                                         .num_heads = 32,
                                         .num_kv_heads = kv_heads,
                                         .head_dim = 128,
                                         .max_context = 1 << 20,
                                         .num_multiprocessors = multiprocessors};
        const int64_t splits = NumDecodeSplits(args);
        EXPECT_GE(splits, 1);
        if (splits == 1) continue;
        for (const int64_t max_sequences : {sequences, sequences + 1, 2 * sequences, int64_t{2048}}) {
          EXPECT_LE(sequences, kMaxSplitSequences);
          EXPECT_LE((MaxDecodeArrivals(32) + sequences * splits * 32 * (128 + 2)) * sizeof(float),
                    PagedAttentionScratchBytes(max_sequences, 32, 128));
        }
      }
    }
  }
}

TEST(PagedAttentionDecode, FillsTheCardFromOneSequence) {
  const PagedAttentionArgs args = {.num_sequences = 1,
                                   .num_heads = 32,
                                   .num_kv_heads = 8,
                                   .head_dim = 128,
                                   .max_context = 8192,
                                   .num_multiprocessors = 132};
  const int64_t blocks = NumDecodeSplits(args) * 8;
  EXPECT_GE(blocks, 2 * 132);
  EXPECT_LE(blocks, 4 * 132);
}

TEST(PagedAttentionPrefill, MatchesThePlainLoopForEveryHeadSize) {
  for (const DType dtype : kDTypes) {
    for (const int64_t head_dim : {8, 16, 24, 64, 72, 128, 136, 256}) {
      ExpectCorrectAttention(
          {.dtype = dtype, .num_kv_heads = 4, .head_dim = head_dim, .sequences = {{2, 2}, {70, 70}}});
    }
  }
}

TEST(PagedAttentionPrefill, SharesKeysInGroupsOfAnySize) {
  for (const int64_t group : {1, 2, 3, 5, 7, 8, 20, 130}) {
    ExpectCorrectAttention({.num_heads = group, .num_kv_heads = 1, .head_dim = 16, .sequences = {{45, 40}}});
  }
}

TEST(PagedAttentionPrefill, ContinuesInTheMiddleOfASequence) {
  for (const int64_t page_size : {1, 3, 16}) {
    for (const int64_t head_dim : {64, 128, 256}) {
      ExpectCorrectAttention({.num_heads = 3,
                              .num_kv_heads = 1,
                              .head_dim = head_dim,
                              .page_size = page_size,
                              .sequences = {{63, 2}, {64, 3}, {65, 64}, {129, 40}, {200, 100}}});
    }
  }
}

TEST(PagedAttentionPrefill, LooksBackOneWindow) {
  for (const int64_t window : {1, 2, 31, 64, 100, 1000}) {
    ExpectCorrectAttention({.num_heads = 2,
                            .head_dim = 16,
                            .page_size = 3,
                            .window = window,
                            .sequences = {{33, 33}, {160, 100}, {300, 200}}});
  }
}

TEST(PagedAttentionPrefill, ZeroesPaddingRows) {
  ExpectCorrectAttention({.sequences = {{40, 40}, {20, 3}}, .num_padding_rows = 1});
  ExpectCorrectAttention({.sequences = {{5, 5}, {.context = 0, .tokens = 0}}, .num_padding_rows = 300});
}

TEST(PagedAttention, ServesMixedSteps) {
  for (const DType dtype : kDTypes) {
    ExpectCorrectAttention({.dtype = dtype,
                            .num_heads = 6,
                            .head_dim = 128,
                            .page_size = 3,
                            .window = 90,
                            .sequences = {{100, 1}, {70, 70}, {.context = 0, .tokens = 0}, {33, 1}, {150, 20}, {1, 1}},
                            .num_padding_rows = 3,
                            .num_multiprocessors = 16});
  }
}

TEST(PagedAttention, ServesMoreSequencesThanABlockHasThreads) {
  AttentionStep step = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 8, .page_size = 2, .num_padding_rows = 1};
  for (int64_t s = 0; s < 300; ++s) step.sequences.push_back({.context = 3 + s % 7, .tokens = s % 4});
  ExpectCorrectAttention(step);
}

TEST(PagedAttention, DoesNothingForAnEmptyStep) {
  ExpectCorrectAttention({.sequences = {}});
  ExpectCorrectAttention({.sequences = {{.context = 0, .tokens = 0}}});
}

TEST(PagedAttention, MatchesThePlainLoopInRandomSteps) {
  std::mt19937 random(7);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (uint32_t i = 0; i < 40; ++i) {
    AttentionStep step = {
        .dtype = kDTypes[i % 2], .num_kv_heads = draw(1, 3), .head_dim = 8 * draw(1, 20), .page_size = draw(1, 20)};
    step.num_heads = step.num_kv_heads * draw(1, 8);
    step.window = draw(0, 1) * draw(1, 150);
    step.num_padding_rows = draw(0, 2);
    step.num_multiprocessors = static_cast<int>(draw(1, 60));
    step.spare_context = draw(0, 500);
    step.seed = i;
    const int64_t num_sequences = draw(1, 4);
    for (int64_t s = 0; s < num_sequences; ++s) {
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
