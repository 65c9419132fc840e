#include "engine/page_allocator.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>
#include <vector>

namespace switchyard {
namespace {

TEST(PageLease, GrowsByAllOrNothing) {
  PageAllocator allocator(5);
  PageLease first(&allocator);
  PageLease second(&allocator);
  EXPECT_TRUE(first.Grow(3));
  EXPECT_FALSE(second.Grow(3));
  EXPECT_EQ(second.size(), 0);
  EXPECT_EQ(allocator.num_free(), 2);
  EXPECT_TRUE(second.Grow(2));
  EXPECT_EQ(allocator.num_free(), 0);
  EXPECT_TRUE(second.Grow(0));
}

TEST(PageLease, ReturnsItsPagesWhenDestroyed) {
  PageAllocator allocator(4);
  {
    PageLease lease(&allocator);
    ASSERT_TRUE(lease.Grow(4));
    EXPECT_EQ(allocator.num_used(), 4);
  }
  EXPECT_EQ(allocator.num_used(), 0);
}

TEST(PageLease, ReturnsItsOwnPagesWhenAnotherIsMovedIntoIt) {
  PageAllocator allocator(4);
  PageLease lease(&allocator);
  ASSERT_TRUE(lease.Grow(1));
  PageLease other(&allocator);
  ASSERT_TRUE(other.Grow(2));
  const std::vector<int32_t> pages(other.pages().begin(), other.pages().end());
  lease = std::move(other);
  EXPECT_EQ(std::vector<int32_t>(lease.pages().begin(), lease.pages().end()), pages);
  EXPECT_EQ(allocator.num_used(), 2);
}

TEST(PageLease, KeepsItsPagesWhenMovedIntoItself) {
  PageAllocator allocator(4);
  PageLease lease(&allocator);
  ASSERT_TRUE(lease.Grow(3));
  PageLease& same = lease;
  lease = std::move(same);
  EXPECT_EQ(lease.size(), 3);
  EXPECT_EQ(allocator.num_used(), 3);
}

TEST(PageLease, HandsOutRecentlyUsedPagesFirst) {
  PageAllocator allocator(10);
  PageLease lease(&allocator);
  ASSERT_TRUE(lease.Grow(3));
  const std::vector<int32_t> pages(lease.pages().begin(), lease.pages().end());
  lease.Clear();
  ASSERT_TRUE(lease.Grow(3));
  EXPECT_EQ(std::vector<int32_t>(lease.pages().begin(), lease.pages().end()), pages);
}

TEST(PageLease, SharesKeptPagesWhichReturnWithTheirLastHolder) {
  PageAllocator allocator(4);
  PageLease first(&allocator);
  ASSERT_TRUE(first.Grow(2));
  const std::vector<int32_t> pages(first.pages().begin(), first.pages().end());
  for (const int32_t page : pages) allocator.Keep(page);
  PageLease second(&allocator);
  second.Share(pages);
  EXPECT_EQ(allocator.num_used(), 2);
  first.Clear();
  EXPECT_EQ(allocator.num_used(), 2);
  EXPECT_TRUE(allocator.IsHeld(pages[0]));
  second.Clear();
  EXPECT_EQ(allocator.num_free(), 4);
  EXPECT_FALSE(allocator.IsHeld(pages[0]));
  second.Share(pages);
  EXPECT_EQ(std::vector<int32_t>(second.pages().begin(), second.pages().end()), pages);
  EXPECT_EQ(allocator.num_used(), 2);
}

TEST(PageLease, ReplacesAPageByOneThatIsKept) {
  PageAllocator allocator(3);
  PageLease first(&allocator);
  PageLease second(&allocator);
  ASSERT_TRUE(first.Grow(1) && second.Grow(2));
  const int32_t kept = first.pages()[0];
  allocator.Keep(kept);
  second.Replace(1, kept);
  EXPECT_EQ(second.pages()[1], kept);
  EXPECT_EQ(allocator.num_free(), 1);
  first.Clear();
  EXPECT_EQ(allocator.num_free(), 1);
}

TEST(PageAllocator, EvictsKeptPagesLastAndInTheOrderInWhichTheyWereLeft) {
  std::vector<int32_t> evicted;
  PageAllocator allocator(4, [&](int32_t page) { evicted.push_back(page); });
  PageLease first(&allocator);
  PageLease second(&allocator);
  ASSERT_TRUE(first.Grow(2) && second.Grow(1));
  const std::vector<int32_t> left = {second.pages()[0], first.pages()[1], first.pages()[0]};
  for (const int32_t page : left) allocator.Keep(page);
  second.Clear();
  first.Clear();
  PageLease other(&allocator);
  ASSERT_TRUE(other.Grow(1));
  EXPECT_TRUE(evicted.empty());
  ASSERT_TRUE(other.Grow(3));
  EXPECT_EQ(evicted, left);
}

TEST(PageAllocator, DroppedPagesAreLikeAnyOther) {
  int num_evictions = 0;
  PageAllocator allocator(2, [&](int32_t) { ++num_evictions; });
  PageLease lease(&allocator);
  ASSERT_TRUE(lease.Grow(2));
  const std::vector<int32_t> pages(lease.pages().begin(), lease.pages().end());
  for (const int32_t page : pages) allocator.Keep(page);
  allocator.Drop(pages[0]);
  lease.Clear();
  allocator.Drop(pages[1]);
  EXPECT_EQ(allocator.num_free(), 2);
  ASSERT_TRUE(lease.Grow(2));
  EXPECT_EQ(num_evictions, 0);
}

TEST(PageAllocatorDeathTest, SharesNothingThatIsNotKept) {
  EXPECT_DEATH(
      {
        PageAllocator allocator(2);
        PageLease lease(&allocator);
        lease.Share(std::vector<int32_t>{1});
      },
      "is_kept");
}

TEST(PageAllocatorDeathTest, RefusesToGoWhilePagesAreHeld) {
  EXPECT_DEATH(
      {
        PageLease lease;
        PageAllocator allocator(2);
        lease = PageLease(&allocator);
        lease.Grow(1);
      },
      "num_used");
}

// Leases that come, grow, move and go at random: no page has two holders, none is lost.
TEST(PageAllocator, AccountsForEveryPageWhateverHappens) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const int64_t num_pages = 1 + random() % 60;
    PageAllocator allocator(num_pages);
    std::vector<PageLease> leases;
    for (int step = 0; step < 1000; ++step) {
      const uint32_t action = random() % 8;
      if (leases.empty() || action == 0) {
        leases.emplace_back(&allocator);
      } else if (action < 5) {
        PageLease& lease = leases[random() % leases.size()];
        const int64_t count = random() % 6;
        const int64_t free = allocator.num_free();
        ASSERT_EQ(lease.Grow(count), count <= free);
        ASSERT_EQ(allocator.num_free(), count <= free ? free - count : free);
      } else if (action == 5) {
        leases[random() % leases.size()].Clear();
      } else if (action == 6) {
        std::swap(leases[random() % leases.size()], leases.back());
      } else {
        leases.pop_back();
      }
      std::set<int32_t> held;
      int64_t num_held = 0;
      for (const PageLease& lease : leases) {
        held.insert(lease.pages().begin(), lease.pages().end());
        num_held += lease.size();
      }
      ASSERT_EQ(static_cast<int64_t>(held.size()), num_held) << "a page has two holders";
      ASSERT_EQ(allocator.num_used(), num_held);
      if (!held.empty()) {
        ASSERT_GE(*held.begin(), 0);
        ASSERT_LT(*held.rbegin(), num_pages);
      }
    }
    leases.clear();
    EXPECT_EQ(allocator.num_free(), num_pages);
  }
}

}  // namespace
}  // namespace switchyard
