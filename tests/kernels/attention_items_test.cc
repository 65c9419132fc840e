// How a step's attention is divided among threads on the CPU.
#include "kernels/cpu/attention_items.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "gtest/gtest.h"
#include "kernels/cpu/attention.h"

namespace switchyard {
namespace {

// Sequences of {first position, tokens} in one step.
struct Step {
  std::vector<int32_t> positions, begin = {0};

  explicit Step(const std::vector<std::pair<int32_t, int32_t>>& chunks) {
    for (const auto& [first, tokens] : chunks) {
      for (int32_t i = 0; i < tokens; ++i) positions.push_back(first + i);
      begin.push_back(static_cast<int32_t>(positions.size()));
    }
  }
  AttentionIndex Index() const {
    return {.positions = ConstTensorView::Of(std::span(positions)),
            .sequence_begin = ConstTensorView::Of(std::span(begin))};
  }
};

constexpr AttentionSpec kSpec = {.num_heads = 16, .num_kv_heads = 4, .head_dim = 64};

TEST(AttentionItems, CoverEveryHeadAndPartOfEveryTokenOnce) {
  for (const auto& chunks : std::vector<std::vector<std::pair<int32_t, int32_t>>>{
           {}, {{0, 1}}, {{5000, 1}}, {{0, 300}, {2047, 1}, {5, 0}, {9, 1}}, {{700, 1}, {1024, 1}, {3000, 1}}}) {
    const Step step(chunks);
    for (const int64_t threads : {1, 2, 7, 64}) {
      for (const std::optional<int64_t> window : {std::optional<int64_t>(), std::optional<int64_t>(1500)}) {
        AttentionSpec spec = kSpec;
        spec.sliding_window = window;
        AttentionItems items;
        items.Assign(spec, step.Index(), threads);
        std::map<std::tuple<int64_t, int64_t, int64_t>, int> seen;  // token, head, part
        std::set<std::pair<int64_t, int64_t>> written;              // slot, head
        for (const AttentionItem& item : items.items()) {
          for (int64_t head = item.kv_head; head < item.kv_head + item.kv_heads; ++head) {
            for (int64_t t = 0; t < item.tile_tokens; ++t) ++seen[{item.first_token + t, head, 0}];
            for (int64_t part = item.part_begin; part < item.part_end; ++part) {
              ++seen[{item.first_token, head, part}];
            }
            if (items.split_tokens().empty() || item.tile_tokens > 0) continue;
            EXPECT_EQ(item.part_end, item.part_begin + 1);
            EXPECT_LT(item.slot, items.num_slots());
            EXPECT_TRUE(written.insert({item.slot, head}).second);
          }
        }
        std::map<std::tuple<int64_t, int64_t, int64_t>, int> expected;
        for (size_t s = 0; s + 1 < step.begin.size(); ++s) {
          for (int32_t t = step.begin[s]; t < step.begin[s + 1]; ++t) {
            const bool alone = step.begin[s + 1] - step.begin[s] == 1;
            const int64_t first = AttentionItems::FirstSeen(spec, step.Index(), t) / kAttentionPartKeys;
            const int64_t end = step.positions[t] / kAttentionPartKeys + 1;
            for (int64_t head = 0; head < spec.num_kv_heads; ++head) {
              for (int64_t part = alone ? first : 0; part < (alone ? end : 1); ++part) expected[{t, head, part}] = 1;
            }
          }
        }
        EXPECT_EQ(seen, expected) << threads << " threads";
        EXPECT_LE(items.num_slots(), AttentionItems::MaxSlots(5001, threads));
      }
    }
  }
}

TEST(AttentionItems, SplitWhatTooFewTokensLeaveToTheThreads) {
  AttentionItems items;
  items.Assign(kSpec, Step({{32767, 1}}).Index(), 2);
  EXPECT_EQ(items.items().size(), 32u);  // parts, with all heads each
  EXPECT_EQ(items.split_tokens().size(), 1u);
  items.Assign(kSpec, Step({{32767, 1}}).Index(), 64);
  EXPECT_EQ(items.items().size(), 128u);  // heads too
  items.Assign(kSpec, Step({{500, 1}}).Index(), 2);
  EXPECT_EQ(items.items().size(), 4u);  // heads alone
  EXPECT_TRUE(items.split_tokens().empty());
  items.Assign(kSpec, Step({{3000, 1}, {3000, 1}, {3000, 1}, {3000, 1}}).Index(), 2);
  EXPECT_EQ(items.items().size(), 4u);  // one for each token
  EXPECT_TRUE(items.split_tokens().empty());
}

}  // namespace
}  // namespace switchyard
