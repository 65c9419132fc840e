// Latency and bandwidth of the collectives and of the three exchange strategies, over shared memory and over Gloo on
// the loopback interface, beside the speed of a plain memory copy measured in the same run.
//
//   exchange_bench [--quick]    --quick: fewer sizes and repeats
//
// Ranks are threads of this process, one backend thread each. A GB/s is 1e9 bytes of the collective's larger tensor
// per rank (parallel/exchange_cost.h) over the median time; for strategies, of the rows that a rank sends and gets
// back.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "kernels/backend.h"
#include "kernels/check.h"
#include "parallel/communicators/gloo.h"
#include "parallel/communicators/in_process.h"
#include "parallel/exchange_cost.h"
#include "parallel/expert_exchange.h"
#include "parallel/rendezvous.h"

namespace switchyard {
namespace {

using Group = std::vector<std::unique_ptr<Communicator>>;

constexpr int64_t kHidden = 4096;
constexpr int64_t kTopK = 2;
constexpr int kExperts = 8;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}
void Must(const absl::Status& status) { Must(status.ok() ? absl::StatusOr<int>(0) : status); }

void RunRanks(int size, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

Group MakeGroup(bool gloo, int size) {
  if (!gloo) return CreateInProcessCommunicators(size, absl::Seconds(60));
  const auto server = Must(StartRendezvousServer("127.0.0.1", 0));
  Group group(size);
  RunRanks(size, [&](int rank) {
    const auto client = Must(ConnectRendezvous("127.0.0.1", server->port(), absl::Now() + absl::Seconds(30)));
    group[rank] = Must(
        CreateGlooCommunicator({.rank = rank, .size = size, .group = "bench", .bind_address = "127.0.0.1"}, *client));
  });
  return group;
}

// Of `run`, which all ranks call `repeats` times.
double MedianSeconds(int repeats, const std::function<void()>& run) {
  std::vector<double> seconds(repeats);
  for (int i = 0; i < 2; ++i) run();
  for (double& second : seconds) {
    const int64_t begin = absl::GetCurrentTimeNanos();
    run();
    second = static_cast<double>(absl::GetCurrentTimeNanos() - begin) * 1e-9;
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[repeats / 2];
}

int Repeats(int64_t bytes, bool quick) {
  return (bytes <= 200'000 ? 200 : bytes <= 2'000'000 ? 40 : 7) / (quick ? 4 : 1) + 1;
}

// Of `threads` threads that copy at the same time, each between buffers beyond the caches; bytes copied per second.
double CopyBandwidth(int threads) {
  constexpr size_t kBytes = size_t{64} << 20;
  std::vector<double> rates(threads);
  RunRanks(threads, [&](int thread) {
    const std::unique_ptr<char[]> from(new char[kBytes]), to(new char[kBytes]);
    std::memset(from.get(), 1, kBytes);
    rates[thread] = kBytes / MedianSeconds(7, [&] { std::memcpy(to.get(), from.get(), kBytes); });
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

// Rank 0's median of what `make` returns for each rank.
double TimeGroup(const Group& group, int repeats, const std::function<std::function<void()>(Communicator&)>& make) {
  double seconds = 0;
  RunRanks(static_cast<int>(group.size()), [&](int rank) {
    const double median = MedianSeconds(repeats, make(*group[rank]));
    if (rank == 0) seconds = median;
  });
  return seconds;
}

void PrintRow(const std::string& name, const char* transport, int ranks, const std::string& load, double seconds,
              double bytes, double copy_bandwidth) {
  std::printf("%-15s %-7s %5d  %12s %10.1f us", name.c_str(), transport, ranks, load.c_str(), seconds * 1e6);
  // With one rank nothing travels.
  if (ranks > 1 && bytes > 0) {
    std::printf(" %8.2f GB/s  %5.1f%% of copy", bytes / seconds * 1e-9, 100 * bytes / seconds / copy_bandwidth);
  }
  std::printf("\n");
}

void BenchCollectives(const Group& group, const char* transport, bool quick, double copy_bandwidth) {
  const int size = static_cast<int>(group.size());
  std::vector<int64_t> sizes = {10'000, 100'000, 1'000'000, 5'000'000, 20'000'000};
  if (quick) sizes = {10'000, 1'000'000};
  const auto barrier = [](Communicator& communicator) { return [&] { Must(communicator.Barrier()); }; };
  PrintRow("barrier", transport, size, "0 KB", TimeGroup(group, 300, barrier), 0, copy_bandwidth);
  for (const int64_t bytes : sizes) {
    const int64_t per_rank = bytes / static_cast<int64_t>(sizeof(float)) / size;
    const auto time = [&](const char* name, auto call) {
      const double seconds = TimeGroup(group, Repeats(bytes, quick), [&](Communicator& communicator) {
        auto a = std::make_shared<std::vector<float>>(per_rank * size, 1.0f);
        auto b = std::make_shared<std::vector<float>>(per_rank * size, 1.0f);
        return [=, &communicator] {
          Must(call(communicator, TensorView::Of(std::span(*a), {size * per_rank, 1}),
                    TensorView::Of(std::span(*b), {size * per_rank, 1})));
        };
      });
      PrintRow(name, transport, size, std::to_string(bytes / 1000) + " KB", seconds, static_cast<double>(bytes),
               copy_bandwidth);
    };
    time("all_reduce", [](Communicator& c, TensorView a, TensorView) {
      std::memset(a.data(), 0, sizeof(float));
      return c.AllReduceSum(a);
    });
    time("all_gather",
         [&](Communicator& c, TensorView a, TensorView b) { return c.AllGather(a.Rows(0, per_rank), b); });
    time("reduce_scatter",
         [&](Communicator& c, TensorView a, TensorView b) { return c.ReduceScatterSum(a, b.Rows(0, per_rank)); });
    time("all_to_all", [&](Communicator& c, TensorView a, TensorView b) {
      const std::vector<int64_t> rows(size, per_rank);
      return c.AllToAllRows(a, rows, b, rows);
    });
  }
}

struct Step {
  std::vector<float> tokens;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Step RandomStep(int64_t tokens, int seed) {
  std::mt19937 random(seed);
  Step step{std::vector<float>(tokens * kHidden, 0.5f), {}, std::vector<float>(tokens * kTopK, 0.5f)};
  for (int64_t t = 0; t < tokens; ++t) {
    const int first = static_cast<int>(random() % kExperts);
    step.experts.push_back(first);
    step.experts.push_back(static_cast<int>((first + 1 + random() % (kExperts - 1)) % kExperts));
  }
  return step;
}

// What one rank needs for one measurement; the exchange's buffers go before their backend.
struct Rig {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ExpertExchange> exchange;
  Step step;
};

// Dispatch and combine of one layer, without the experts between.
void BenchStrategies(const Group& group, const char* transport, bool quick, double copy_bandwidth,
                     const ExchangeCosts& costs) {
  const int size = static_cast<int>(group.size());
  const ExpertPlacement placement = ExpertPlacement::Contiguous(kExperts, size);
  std::vector<int64_t> counts = {1, 4, 16, 64, 256, 1024, 4096};
  if (quick) counts = {1, 64, 1024};
  for (const int64_t tokens : counts) {
    const int64_t per_rank = (tokens + size - 1) / size;
    for (const auto strategy :
         {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
      const bool replicated = strategy == ExchangeStrategy::kAllReduce;
      const ExchangeLoad load{
          .num_ranks = size, .num_tokens = tokens, .max_rank_tokens = per_rank, .hidden_size = kHidden, .top_k = kTopK};
      const double seconds = TimeGroup(group, Repeats(tokens * kHidden * 4, quick), [&](Communicator& communicator) {
        const int64_t begin = std::min(communicator.rank() * per_rank, tokens);
        const int64_t mine = replicated ? tokens : std::min(per_rank, tokens - begin);
        auto rig = std::make_shared<Rig>();
        rig->backend = CreateCpuBackend({.num_threads = 1});
        rig->exchange = Must(CreateExpertExchange({.hidden_size = kHidden,
                                                   .top_k = kTopK,
                                                   .max_tokens = per_rank * size,
                                                   .max_rank_tokens = replicated ? per_rank * size : per_rank},
                                                  *rig->backend, communicator, placement));
        rig->step = RandomStep(mine, communicator.rank());
        return [=] {
          Must(rig->exchange->Dispatch(strategy, ConstTensorView::Of(std::span(rig->step.tokens), {mine, kHidden}),
                                       ConstTensorView::Of(std::span(rig->step.experts), {mine, kTopK}),
                                       ConstTensorView::Of(std::span(rig->step.weights), {mine, kTopK}),
                                       replicated ? tokens : per_rank));
          Must(rig->exchange->Combine());
        };
      });
      const double rows = replicated ? static_cast<double>(tokens) : 2.0 * static_cast<double>(per_rank);
      PrintRow(Name(strategy), transport, size, std::to_string(tokens) + " tokens", seconds, rows * kHidden * 4,
               copy_bandwidth);
      if (size > 1) std::printf("%55s model %8.1f us\n", "", EstimateSeconds(costs, strategy, load) * 1e6);
    }
  }
}

void Bench(bool gloo, int size, bool quick) {
  const char* transport = gloo ? "gloo" : "shared";
  const Group group = MakeGroup(gloo, size);
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const double copy_bandwidth = CopyBandwidth(std::min(size, cores)) / size;
  std::printf("\n%s, %d rank%s on %d cores; a copy runs at %.2f GB/s per rank\n", transport, size, size == 1 ? "" : "s",
              cores, copy_bandwidth * 1e-9);
  std::vector<ExchangeCosts> costs(size);
  const int64_t begin = absl::GetCurrentTimeNanos();
  RunRanks(size, [&](int rank) {
    const auto backend = CreateCpuBackend({.num_threads = 1});
    costs[rank] = Must(MeasureExchangeCosts(*backend, *group[rank]));
  });
  if (size > 1) {
    std::printf("cost model, measured in %.0f ms: %s\n",
                static_cast<double>(absl::GetCurrentTimeNanos() - begin) * 1e-6, costs[0].ToString().c_str());
  }
  BenchCollectives(group, transport, quick, copy_bandwidth);
  BenchStrategies(group, transport, quick, copy_bandwidth, costs[0]);
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  std::printf("hidden %ld, top-%ld of %d experts, float32\n", static_cast<long>(switchyard::kHidden),
              static_cast<long>(switchyard::kTopK), switchyard::kExperts);
  for (const bool gloo : {false, true}) {
    for (const int size : {1, 2, 4}) switchyard::Bench(gloo, size, quick);
  }
  return 0;
}
