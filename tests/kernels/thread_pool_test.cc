#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/shrinking_ranges.h"

namespace switchyard {
namespace {

TEST(ThreadPool, CoversEveryElementOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 100, 1001}) {
      for (const int64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> visits(count);
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++visits[i];
        });
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(visits[i], 1) << i << " of " << count << " by " << grain;
      }
    }
  }
}

TEST(ThreadPool, OneThreadStaysOnTheCaller) {
  ThreadPool pool(1);
  const std::thread::id caller = std::this_thread::get_id();
  pool.ParallelFor(100, 1, [&](int64_t, int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
}

TEST(ThreadPool, MakesTheWorkersWritesVisibleToTheCaller) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int64_t round = 1; round <= 2000; ++round) {
    pool.ParallelFor(64, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) values[i] += i;
    });
    for (int64_t i = 0; i < 64; ++i) ASSERT_EQ(values[i], i * round);
  }
}

TEST(ThreadPool, WorkersAreNeverSharedBetweenThreads) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> users(4), visits(500);
  pool.ParallelForWorkers(500, 3, [&](int worker, int64_t begin, int64_t end) {
    ASSERT_EQ(++users.at(worker), 1);
    for (int64_t i = begin; i < end; ++i) ++visits[i];
    --users[worker];
  });
  for (int i = 0; i < 500; ++i) ASSERT_EQ(visits[i], 1) << i;
  pool.ParallelForWorkers(0, 1, [](int, int64_t, int64_t) { FAIL() << "nothing to do"; });
}

ThreadPoolOptions Sharing(std::shared_ptr<SharedLoops> loops, int num_threads, int num_guests) {
  return {.num_threads = num_threads, .num_guests = num_guests, .shared_loops = std::move(loops)};
}

TEST(SharedLoops, HaveNothingToDoWhileNoLoopIsOpen) {
  const auto loops = std::make_shared<SharedLoops>(2);
  EXPECT_FALSE(loops->Help());
  ThreadPool pool(Sharing(loops, 1, 1));
  EXPECT_FALSE(loops->Help());
  pool.ParallelFor(10, 1, [](int64_t, int64_t) {});
  EXPECT_FALSE(loops->Help());
}

// The caller's first range ends only when a guest has begun one.
TEST(SharedLoops, LetAGuestTakePartInAnotherPoolsLoop) {
  const auto loops = std::make_shared<SharedLoops>(1);
  ThreadPool pool(Sharing(loops, 1, 1));
  EXPECT_EQ(pool.num_threads(), 1);
  EXPECT_EQ(pool.max_workers(), 2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> has_guest{false}, stop{false};
  std::thread guest([&] {
    while (!stop) loops->Help();
  });
  std::vector<int> visits(100, 0);
  pool.ParallelFor(100, 1, [&](int64_t begin, int64_t end) {
    if (std::this_thread::get_id() != caller) has_guest = true;
    while (!has_guest) std::this_thread::yield();
    for (int64_t i = begin; i < end; ++i) ++visits[i];
  });
  stop = true;
  guest.join();
  EXPECT_EQ(visits, std::vector<int>(100, 1));
}

// Three backends that compute and help each other by turns, each with a worker; ThreadSanitizer sees a loop that leaks.
TEST(SharedLoops, KeepEveryPoolsLoopsApart) {
  constexpr int kPools = 3, kRounds = 500, kCount = 50;
  const auto loops = std::make_shared<SharedLoops>(kPools);
  std::vector<std::thread> owners;
  for (int p = 0; p < kPools; ++p) {
    owners.emplace_back([&loops, p] {
      ThreadPool pool(Sharing(loops, 2, 2 * (kPools - 1)));
      std::vector<int> sums(kCount, 0);
      std::vector<std::atomic<int>> users(pool.max_workers());
      for (int round = 1; round <= kRounds; ++round) {
        pool.ParallelForWorkers(kCount, 1, [&](int worker, int64_t begin, int64_t end) {
          ASSERT_EQ(++users.at(worker), 1);
          for (int64_t i = begin; i < end; ++i) sums[i] += p + 1;
          --users[worker];
        });
        for (const int sum : sums) ASSERT_EQ(sum, round * (p + 1));
        if (round % 3 == p) loops->Help();
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
}

TEST(ShrinkingRanges, StartLongAndEndAtTheSmallest) {
  ShrinkingRanges ranges;
  ranges.Reset(800, 30, 2);
  std::vector<int64_t> sizes;
  int64_t begin = 0, end = 0, next = 0;
  while (ranges.Take(begin, end)) {
    ASSERT_EQ(begin, next);
    sizes.push_back(end - begin);
    next = end;
  }
  EXPECT_EQ(next, 800);
  EXPECT_EQ(sizes.front(), 200);
  for (size_t i = 1; i < sizes.size(); ++i) EXPECT_LE(sizes[i], sizes[i - 1]);
  for (size_t i = 0; i + 1 < sizes.size(); ++i) EXPECT_GE(sizes[i], 30);
  EXPECT_FALSE(ranges.Take(begin, end));
}

TEST(ShrinkingRanges, HaveNothingToGiveOfNothing) {
  ShrinkingRanges ranges;
  int64_t begin = 0, end = 0;
  EXPECT_FALSE(ranges.Take(begin, end));
  ranges.Reset(0, 1, 1);
  EXPECT_FALSE(ranges.Take(begin, end));
}

}  // namespace
}  // namespace switchyard
