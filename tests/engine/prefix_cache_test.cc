#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

namespace switchyard {
namespace {

constexpr int64_t kPageSize = 2;

// A text whose full pages are hashed.
struct Text {
  std::vector<int32_t> tokens;
  std::string salt;
  std::vector<uint64_t> hashes;

  PagePrefix prefix() const { return {.salt = salt, .tokens = tokens, .hashes = hashes}; }
};

class PrefixCacheTest : public testing::Test {
 protected:
  const Text& MakeText(std::vector<int32_t> tokens, std::string salt = "") {
    Text& text = texts_.emplace_back(Text{std::move(tokens), std::move(salt), {}});
    AppendPageHashes(hash_, text.salt, text.tokens, kPageSize, static_cast<int64_t>(text.tokens.size()) / kPageSize,
                     &text.hashes);
    return text;
  }

  // Enters all pages of a text in pages of its own; CHECKs that none is there.
  PageLease Enter(const Text& text) {
    PageLease lease(&pages_);
    EXPECT_TRUE(lease.Grow(static_cast<int64_t>(text.hashes.size())));
    for (int64_t i = 0; i < lease.size(); ++i) EXPECT_EQ(EnterOne(text, lease, i), PageAt(lease, i));
    return lease;
  }
  int32_t EnterOne(const Text& text, const PageLease& lease, int64_t i) {
    return cache_.Enter(text.prefix(), i, i == 0 ? -1 : PageAt(lease, i - 1), PageAt(lease, i));
  }
  static int32_t PageAt(const PageLease& lease, int64_t i) { return lease.pages()[static_cast<size_t>(i)]; }
  static std::vector<int32_t> Pages(const PageLease& lease) { return {lease.pages().begin(), lease.pages().end()}; }
  std::vector<int32_t> Find(const Text& text) { return cache_.Find(text.prefix()); }

  std::deque<Text> texts_;
  PageHash hash_ = RandomlyKeyedPageHash();
  PageAllocator pages_{8, [this](int32_t page) { cache_.Forget(page); }};
  PrefixCache cache_{kPageSize, pages_};
};

TEST_F(PrefixCacheTest, FindsTheLongestCommonBeginning) {
  const PageLease lease = Enter(MakeText({1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(Find(MakeText({1, 2, 3, 4, 5, 6, 7, 8})), Pages(lease));
  EXPECT_EQ(Find(MakeText({1, 2, 3, 4, 5, 7})), (std::vector<int32_t>{PageAt(lease, 0), PageAt(lease, 1)}));
  EXPECT_EQ(Find(MakeText({1, 2, 9, 4, 5, 6})), (std::vector<int32_t>{PageAt(lease, 0)}));
  EXPECT_TRUE(Find(MakeText({3, 4, 5, 6})).empty()) << "the same tokens elsewhere in a text are not the same";
  EXPECT_TRUE(Find(MakeText({1})).empty());
}

TEST_F(PrefixCacheTest, OneTextsContinuationsShareItsPages) {
  const PageLease base = Enter(MakeText({1, 2, 3, 4}));
  std::vector<PageLease> leases;
  for (const int32_t token : {5, 6}) {
    const Text& text = MakeText({1, 2, 3, 4, token, token});
    PageLease& lease = leases.emplace_back(&pages_);
    lease.Share(Find(text));
    ASSERT_TRUE(lease.Grow(1));
    EXPECT_EQ(EnterOne(text, lease, 2), PageAt(lease, 2));
  }
  EXPECT_EQ(cache_.num_entries(), 4);
  EXPECT_EQ(pages_.num_used(), 4);
  EXPECT_EQ(Find(MakeText({1, 2, 3, 4, 6, 6})), Pages(leases[1]));
}

TEST_F(PrefixCacheTest, SaltsSeparateTexts) {
  const PageLease plain = Enter(MakeText({1, 2, 3, 4}));
  EXPECT_TRUE(Find(MakeText({1, 2, 3, 4}, "mine")).empty());
  const PageLease mine = Enter(MakeText({1, 2, 3, 4}, "mine"));
  EXPECT_EQ(Find(MakeText({1, 2, 3, 4}, "mine")), Pages(mine));
  EXPECT_EQ(Find(MakeText({1, 2, 3, 4})), Pages(plain));
  EXPECT_TRUE(Find(MakeText({1, 2, 3, 4}, "yours")).empty());
}

TEST_F(PrefixCacheTest, TheSameContentsTwiceAreEnteredOnce) {
  const Text& text = MakeText({1, 2, 3, 4});
  const PageLease first = Enter(text);
  PageLease second(&pages_);
  ASSERT_TRUE(second.Grow(2));
  EXPECT_EQ(EnterOne(text, second, 0), PageAt(first, 0));
  EXPECT_EQ(cache_.num_entries(), 2);
}

TEST_F(PrefixCacheTest, PagesOutliveTheirHolderUntilTheyAreNeededAndTheEndOfAChainGoesFirst) {
  const Text& text = MakeText({1, 2, 3, 4, 5, 6});
  std::vector<int32_t> pages;
  {
    const PageLease lease = Enter(text);
    pages = Pages(lease);
  }
  EXPECT_EQ(pages_.num_free(), 8);
  PageLease other(&pages_);
  ASSERT_TRUE(other.Grow(5));
  EXPECT_EQ(Find(text), pages) << "pages without contents go first";
  ASSERT_TRUE(other.Grow(1));
  EXPECT_EQ(Find(text), (std::vector<int32_t>{pages[0], pages[1]}));
  ASSERT_TRUE(other.Grow(2));
  EXPECT_TRUE(Find(text).empty());
  EXPECT_EQ(cache_.num_entries(), 0);
}

TEST_F(PrefixCacheTest, WhatWasUsedLastStaysLongest) {
  const Text& old = MakeText({1, 2, 3, 4});
  const Text& recent = MakeText({5, 6, 7, 8});
  Enter(old).Clear();
  Enter(recent).Clear();
  {
    PageLease again(&pages_);
    again.Share(Find(old));
  }
  PageLease other(&pages_);
  ASSERT_TRUE(other.Grow(6));
  EXPECT_TRUE(Find(recent).empty());
  EXPECT_EQ(Find(old).size(), 2u);
}

TEST_F(PrefixCacheTest, ForgottenPagesAreNotFoundNorKeptNorContinued) {
  const Text& text = MakeText({1, 2, 3, 4, 5, 6});
  PageLease lease(&pages_);
  ASSERT_TRUE(lease.Grow(3));
  EXPECT_EQ(EnterOne(text, lease, 0), PageAt(lease, 0));
  EXPECT_EQ(EnterOne(text, lease, 1), PageAt(lease, 1));
  cache_.Forget(PageAt(lease, 1));
  cache_.Forget(PageAt(lease, 1));
  EXPECT_EQ(Find(text).size(), 1u);
  EXPECT_EQ(EnterOne(text, lease, 2), -1);
  EXPECT_EQ(cache_.num_entries(), 1);
}

// A chain whose middle is gone keeps nobody from entering it anew, and what is left of the old one is not part of it.
TEST_F(PrefixCacheTest, AnEndWithoutItsBeginningIsNeverFoundAndMakesRoom) {
  const Text& text = MakeText({1, 2, 3, 4, 5, 6});
  const PageLease broken = Enter(text);
  cache_.Forget(PageAt(broken, 1));
  PageLease fresh(&pages_);
  fresh.Share(Find(text));
  ASSERT_TRUE(fresh.Grow(2));
  EXPECT_EQ(EnterOne(text, fresh, 1), PageAt(fresh, 1));
  EXPECT_EQ(Find(text), (std::vector<int32_t>{PageAt(fresh, 0), PageAt(fresh, 1)}));
  EXPECT_EQ(EnterOne(text, fresh, 2), PageAt(fresh, 2));
  EXPECT_EQ(Find(text), Pages(fresh));
}

// All texts have one hash: whatever is found is still what was asked for.
class CollidingPrefixCacheTest : public PrefixCacheTest {
 protected:
  CollidingPrefixCacheTest() {
    hash_ = [](uint64_t, std::span<const std::byte>) { return uint64_t{42}; };
  }
};

TEST_F(CollidingPrefixCacheTest, ACollisionHidesAPageAndNeverGivesAnother) {
  const Text& text = MakeText({1, 2, 3, 4});
  PageLease lease(&pages_);
  ASSERT_TRUE(lease.Grow(2));
  EXPECT_EQ(EnterOne(text, lease, 0), PageAt(lease, 0));
  EXPECT_EQ(EnterOne(text, lease, 1), -1) << "the place is taken";
  EXPECT_EQ(Find(text), (std::vector<int32_t>{PageAt(lease, 0)}));
  EXPECT_TRUE(Find(MakeText({1, 3})).empty());
  EXPECT_TRUE(Find(MakeText({2, 2})).empty());
  EXPECT_TRUE(Find(MakeText({1, 2}, "salted")).empty());
  EXPECT_EQ(Find(MakeText({1, 2, 1, 2})), (std::vector<int32_t>{PageAt(lease, 0)}))
      << "the same tokens and hash, behind something else";
}

}  // namespace
}  // namespace switchyard
