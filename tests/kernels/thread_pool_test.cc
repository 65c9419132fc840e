#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

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

TEST(ThreadPool, GrainLeavesSeveralRangesPerThread) {
  ThreadPool pool(2);
  EXPECT_EQ(pool.Grain(800, 1), 100);
  EXPECT_EQ(pool.Grain(800, 300), 300);
  EXPECT_EQ(pool.Grain(3, 1), 1);
}

}  // namespace
}  // namespace switchyard
