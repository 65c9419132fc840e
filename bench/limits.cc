#include "bench/limits.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <functional>
#include <new>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/limits.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

float SumOfFloats(const float* HWY_RESTRICT data, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d);
  auto sum1 = sum0;
  auto sum2 = sum0;
  auto sum3 = sum0;
  for (size_t i = 0; i + 4 * lanes <= count; i += 4 * lanes) {
    sum0 = hn::Add(sum0, hn::Load(d, data + i));
    sum1 = hn::Add(sum1, hn::Load(d, data + i + lanes));
    sum2 = hn::Add(sum2, hn::Load(d, data + i + 2 * lanes));
    sum3 = hn::Add(sum3, hn::Load(d, data + i + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

// Twelve independent chains hide the latency of every FMA unit there is; returns the operations done.
double ChainFmas(size_t rounds, float* result) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 0.999f);
  const auto addend = hn::Set(d, 0.001f);
  // All different: equal chains would be computed once.
  const auto start = [&](float n) HWY_ATTR { return hn::Set(d, *result + n); };
  auto a = start(0), b = start(1), c = start(2), e = start(3), f = start(4), g = start(5);
  auto h = start(6), i = start(7), j = start(8), k = start(9), l = start(10), m = start(11);
  for (size_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, factor, addend);
    b = hn::MulAdd(b, factor, addend);
    c = hn::MulAdd(c, factor, addend);
    e = hn::MulAdd(e, factor, addend);
    f = hn::MulAdd(f, factor, addend);
    g = hn::MulAdd(g, factor, addend);
    h = hn::MulAdd(h, factor, addend);
    i = hn::MulAdd(i, factor, addend);
    j = hn::MulAdd(j, factor, addend);
    k = hn::MulAdd(k, factor, addend);
    l = hn::MulAdd(l, factor, addend);
    m = hn::MulAdd(m, factor, addend);
  }
  const auto sum0 = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(f, g));
  const auto sum1 = hn::Add(hn::Add(hn::Add(h, i), hn::Add(j, k)), hn::Add(l, m));
  *result = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  return 12.0 * 2.0 * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {
namespace {

HWY_EXPORT(SumOfFloats);
HWY_EXPORT(ChainFmas);

constexpr int kRuns = 5;

// Binds the calling thread to one of the processors it may use, the `index`-th around, while it lives: under a
// real-time policy the scheduler leaves new threads where they were made, all on one core.
class ScopedBinding {
 public:
  explicit ScopedBinding(int index) {
    sched_getaffinity(0, sizeof(allowed_), &allowed_);
    int left = index % CPU_COUNT(&allowed_);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed_) || left-- > 0) continue;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof(one), &one);
      return;
    }
  }
  ~ScopedBinding() { sched_setaffinity(0, sizeof(allowed_), &allowed_); }

 private:
  cpu_set_t allowed_;
};

// Seconds of the fastest run of work(thread) on all threads together, from the common start to the last one's end.
double FastestRun(int threads, const std::function<void(int)>& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<Clock::time_point>> begin(threads), end(threads);
  std::barrier start(threads);
  const auto run = [&](int thread) {
    const ScopedBinding binding(thread);
    for (int i = 0; i < kRuns; ++i) {
      start.arrive_and_wait();
      begin[thread].push_back(Clock::now());
      work(thread);
      end[thread].push_back(Clock::now());
    }
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(run, t);
  run(0);
  for (std::thread& other : others) other.join();
  double fastest = 1e30;
  for (int i = 0; i < kRuns; ++i) {
    Clock::time_point first = begin[0][i], last = end[0][i];
    for (int t = 1; t < threads; ++t) {
      first = std::min(first, begin[t][i]);
      last = std::max(last, end[t][i]);
    }
    fastest = std::min(fastest, std::chrono::duration<double>(last - first).count());
  }
  return fastest;
}

}  // namespace

double MeasureReadBandwidth(int threads) {
  constexpr size_t kBytes = size_t{512} << 20;
  void* data = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  madvise(data, kBytes, MADV_HUGEPAGE);
  std::memset(data, 1, kBytes);  // real pages, not the shared page of zeros
  const size_t share = kBytes / sizeof(float) / threads / 64 * 64;
  std::atomic<float> kept{0};  // what is computed must be used, or the compiler drops it
  const double seconds = FastestRun(threads, [&](int thread) {
    kept = HWY_DYNAMIC_DISPATCH(SumOfFloats)(static_cast<const float*>(data) + thread * share, share);
  });
  munmap(data, kBytes);
  return static_cast<double>(share * sizeof(float) * threads) / seconds;
}

double MeasureFmaRate(int threads) {
  constexpr size_t kRounds = 4'000'000;
  std::atomic<float> kept{0};
  std::atomic<double> operations{0};
  const double seconds = FastestRun(threads, [&](int thread) {
    float result = static_cast<float>(thread);
    operations = HWY_DYNAMIC_DISPATCH(ChainFmas)(kRounds, &result);
    kept = result;
  });
  return operations * threads / seconds;
}

}  // namespace switchyard
#endif  // HWY_ONCE
