#include "parallel/exchange_cost.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// Elements of the larger tensor: a handful, for the latency, and 512 KiB, for the bandwidth.
constexpr int64_t kFewElementsPerRank = 16;
constexpr int64_t kManyElements = 128 * 1024;
constexpr int kWarmUps = 1;
constexpr int kFewRepeats = 15;
constexpr int kManyRepeats = 3;

// Of rows in all_to_all, which has to say how many there are.
constexpr int64_t kRowElements = 16;

// Runs one collective whose larger tensor has `elements` elements.
using Collective = std::function<absl::Status(int64_t elements)>;

// The median: a busy machine makes some runs slow and none fast.
absl::StatusOr<double> MedianSeconds(Backend& backend, const Collective& collective, int64_t elements, int repeats) {
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUps + repeats; ++i) {
    const int64_t begin = absl::GetCurrentTimeNanos();
    absl::Status status = collective(elements);
    status.Update(backend.Synchronize());
    if (!status.ok()) return status;
    if (i >= kWarmUps) seconds.push_back(static_cast<double>(absl::GetCurrentTimeNanos() - begin) * 1e-9);
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[repeats / 2];
}

absl::StatusOr<CollectiveCost> Fit(Backend& backend, const Collective& collective, int64_t few, int64_t many) {
  const absl::StatusOr<double> small = MedianSeconds(backend, collective, few, kFewRepeats);
  if (!small.ok()) return small.status();
  const absl::StatusOr<double> large = MedianSeconds(backend, collective, many, kManyRepeats);
  if (!large.ok()) return large.status();
  const double more_bytes = static_cast<double>((many - few) * static_cast<int64_t>(sizeof(float)));
  const double per_byte = std::max(*large - *small, 0.0) / more_bytes;
  return CollectiveCost{.latency_seconds = *small, .seconds_per_byte = per_byte};
}

// In the order in which their costs are measured and broadcast.
std::array<CollectiveCost*, 4> Fields(ExchangeCosts& costs) {
  return {&costs.all_to_all, &costs.all_gather, &costs.reduce_scatter, &costs.all_reduce};
}

absl::Status AdoptRankZero(Backend& backend, Communicator& communicator, ExchangeCosts& costs) {
  std::vector<float> values;
  for (const CollectiveCost* cost : Fields(costs)) {
    values.push_back(static_cast<float>(cost->latency_seconds));
    values.push_back(static_cast<float>(cost->seconds_per_byte));
  }
  const TensorView host = TensorView::Of(std::span(values));
  absl::StatusOr<Tensor> device = backend.AllocateTensor(DType::kFloat32, host.shape());
  if (!device.ok()) return device.status();
  absl::Status status = backend.CopyFromHost(host, device->view());
  if (!status.ok()) return status;
  status = communicator.Broadcast(device->view(), 0);
  if (!status.ok()) return status;
  status = backend.CopyToHost(device->view(), host);
  // Rank 0 too takes the rounded values.
  size_t i = 0;
  for (CollectiveCost* cost : Fields(costs)) {
    cost->latency_seconds = values[i++];
    cost->seconds_per_byte = values[i++];
  }
  return status;
}

}  // namespace

absl::StatusOr<ExchangeCosts> MeasureExchangeCosts(Backend& backend, Communicator& communicator) {
  const int64_t size = communicator.size();
  ExchangeCosts costs;
  if (size == 1) return costs;
  const int64_t few = kFewElementsPerRank * size;
  const int64_t many = (kManyElements + few - 1) / few * few;  // whole rows for each rank
  absl::StatusOr<Tensor> a = backend.AllocateTensor(DType::kFloat32, {many});
  if (!a.ok()) return a.status();
  absl::StatusOr<Tensor> b = backend.AllocateTensor(DType::kFloat32, {many});
  if (!b.ok()) return b.status();

  const std::array<Collective, 4> collectives = {
      [&](int64_t n) {
        const int64_t rows = n / kRowElements;
        const std::vector<int64_t> counts(size, rows / size);
        return communicator.AllToAllRows(a->Top(n).Reshape({rows, kRowElements}), counts,
                                         b->Top(n).Reshape({rows, kRowElements}), counts);
      },
      [&](int64_t n) { return communicator.AllGather(a->Top(n / size), b->Top(n)); },
      [&](int64_t n) { return communicator.ReduceScatterSum(a->Top(n), b->Top(n / size)); },
      [&](int64_t n) { return communicator.AllReduceSum(a->Top(n)); },
  };
  const auto fields = Fields(costs);
  for (size_t i = 0; i < collectives.size(); ++i) {
    const absl::StatusOr<CollectiveCost> cost = Fit(backend, collectives[i], few, many);
    if (!cost.ok()) return cost.status();
    *fields[i] = *cost;
  }
  const absl::Status status = AdoptRankZero(backend, communicator, costs);
  if (!status.ok()) return status;
  return costs;
}

double EstimateSeconds(const ExchangeCosts& costs, ExchangeStrategy strategy, const ExchangeLoad& load) {
  if (load.num_ranks == 1) return 0;
  const double ranks = load.num_ranks;
  const double sum_bytes = static_cast<double>(load.hidden_size * load.activation_bytes);
  const double row_bytes = sum_bytes + static_cast<double>(load.top_k * (sizeof(int32_t) + sizeof(float)));
  switch (strategy) {
    case ExchangeStrategy::kAllToAll: {
      // The expected number of different ranks among top_k drawn at random: a row travels once to each.
      const double ranks_per_token = ranks * (1 - std::pow(1 - 1 / ranks, static_cast<double>(load.top_k)));
      const double rows = static_cast<double>(load.max_rank_tokens) * ranks_per_token;
      return costs.all_to_all.Seconds(ranks * sizeof(int32_t)) + costs.all_to_all.Seconds(rows * row_bytes) +
             costs.all_to_all.Seconds(rows * sum_bytes);
    }
    case ExchangeStrategy::kAllGather: {
      const double rows = ranks * static_cast<double>(load.max_rank_tokens);
      return costs.all_gather.Seconds(rows * row_bytes) + costs.reduce_scatter.Seconds(rows * sum_bytes);
    }
    case ExchangeStrategy::kAllReduce:
      return costs.all_reduce.Seconds(static_cast<double>(load.num_tokens) * sum_bytes);
  }
  return 0;
}

ExchangeStrategy ChooseExchange(const ExchangeCosts& costs, const ExchangeLoad& load,
                                std::span<const ExchangeStrategy> allowed) {
  CHECK(!allowed.empty());
  return *std::min_element(allowed.begin(), allowed.end(), [&](ExchangeStrategy a, ExchangeStrategy b) {
    return EstimateSeconds(costs, a, load) < EstimateSeconds(costs, b, load);
  });
}

std::string ExchangeCosts::ToString() const {
  const auto describe = [](const char* name, const CollectiveCost& cost) {
    const double gigabytes_per_second = cost.seconds_per_byte > 0 ? 1e-9 / cost.seconds_per_byte : INFINITY;
    return absl::StrFormat("%s %.1f us + %.1f GB/s", name, cost.latency_seconds * 1e6, gigabytes_per_second);
  };
  return describe("all_to_all", all_to_all) + "; " + describe("all_gather", all_gather) + "; " +
         describe("reduce_scatter", reduce_scatter) + "; " + describe("all_reduce", all_reduce);
}

}  // namespace switchyard
