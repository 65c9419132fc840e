#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/loop_ranges.h"

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

using Range = std::pair<int64_t, int64_t>;

// {-1, -1}: nothing is left.
Range TakeOne(LoopRanges::Taker& taker) {
  Range range = {-1, -1};
  return taker.Take(range.first, range.second) ? range : Range{-1, -1};
}

TEST(LoopRanges, LeadOneThreadThroughAllInOrder) {
  for (const int64_t threads : {1, 2, 3, 200}) {
    LoopRanges ranges;
    ranges.Reset(800, 30, threads);
    LoopRanges::Taker taker(ranges);
    int64_t next = 0;
    for (Range range = TakeOne(taker); range.first >= 0; range = TakeOne(taker)) {
      ASSERT_EQ(range.first, next);
      next = range.second;
      if (next < 800) {
        EXPECT_GE(range.second - range.first, 30);
      }
    }
    EXPECT_EQ(next, 800);
  }
}

TEST(LoopRanges, GiveEachThreadAPartInOrderAndThenTheEndsOfTheOthersParts) {
  LoopRanges ranges;
  ranges.Reset(64, 4, 2);
  LoopRanges::Taker a(ranges), b(ranges);
  EXPECT_EQ(TakeOne(a), Range(0, 16));
  EXPECT_EQ(TakeOne(b), Range(32, 48));
  EXPECT_EQ(TakeOne(a), Range(16, 24));
  EXPECT_EQ(TakeOne(a), Range(24, 28));
  EXPECT_EQ(TakeOne(a), Range(28, 32));
  EXPECT_EQ(TakeOne(a), Range(56, 64));
  EXPECT_EQ(TakeOne(b), Range(48, 52));
  EXPECT_EQ(TakeOne(a), Range(52, 56));
  EXPECT_EQ(TakeOne(b), Range(-1, -1));
  EXPECT_EQ(TakeOne(a), Range(-1, -1));
}

TEST(LoopRanges, GiveThreadsThatComeLateTheEndsOfTheLongestPart) {
  LoopRanges ranges;
  ranges.Reset(64, 1, 1);
  LoopRanges::Taker owner(ranges), late(ranges);
  EXPECT_EQ(TakeOne(owner), Range(0, 32));
  EXPECT_EQ(TakeOne(late), Range(48, 64));
  EXPECT_EQ(TakeOne(owner), Range(32, 40));
}

TEST(LoopRanges, HaveNothingToGiveOfNothing) {
  LoopRanges ranges;
  ranges.Reset(0, 1, 3);
  LoopRanges::Taker taker(ranges);
  EXPECT_EQ(TakeOne(taker), Range(-1, -1));
}

TEST(LoopRanges, GiveEveryElementToOneOfManyThreads) {
  constexpr int kThreads = 4, kCount = 3000;
  LoopRanges ranges;
  std::vector<std::atomic<int>> visits(kCount);
  for (int round = 1; round <= 200; ++round) {
    ranges.Reset(kCount, 1, kThreads - 1);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        LoopRanges::Taker taker(ranges);
        for (Range range = TakeOne(taker); range.first >= 0; range = TakeOne(taker)) {
          for (int64_t i = range.first; i < range.second; ++i) ++visits[i];
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < kCount; ++i) ASSERT_EQ(visits[i], round) << i;
  }
}

}  // namespace
}  // namespace switchyard
