// Which exchange is the fastest for a step: a latency and a bandwidth per collective, measured at start-up.
//
// The model is Hockney's, seconds = latency + bytes * seconds_per_byte (Hockney 1994, Parallel Computing 20(3)), with
// uniform routing assumed. It ranks strategies; docs/EXCHANGE.md says what it leaves out. Values; no thread is needed.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"
#include "parallel/exchange_strategy.h"

namespace switchyard {

struct CollectiveCost {
  double latency_seconds = 0;
  double seconds_per_byte = 0;

  double Seconds(double bytes) const { return latency_seconds + bytes * seconds_per_byte; }
};

// Bytes of a collective are those of its larger tensor on one rank: what it sends (all_to_all, reduce_scatter), what it
// receives (all_gather), or the tensor itself (all_reduce).
struct ExchangeCosts {
  CollectiveCost all_to_all;
  CollectiveCost all_gather;
  CollectiveCost reduce_scatter;
  CollectiveCost all_reduce;

  std::string ToString() const;  // "all_to_all 3.1 us + 5.2 GB/s; ..."
};

// One MoE layer of a step.
struct ExchangeLoad {
  int num_ranks = 1;
  int64_t num_tokens = 0;       // of all ranks together
  int64_t max_rank_tokens = 0;  // of the rank with most, where tokens are divided
  int64_t hidden_size = 0;
  int64_t top_k = 0;
  int64_t activation_bytes = 4;  // of one element
};

// Times each collective, small and larger, on every rank and gives all ranks the figures of rank 0, so that they reach
// the same decisions. Takes some tens of milliseconds; every rank calls it at the same place.
absl::StatusOr<ExchangeCosts> MeasureExchangeCosts(Backend& backend, Communicator& communicator);

// Expected time of dispatch and combine together.
double EstimateSeconds(const ExchangeCosts& costs, ExchangeStrategy strategy, const ExchangeLoad& load);

// The strategy with the least expected time among those that the layout of the tokens allows (one at least); the first
// listed among equals. A pure function: equal arguments give equal answers on every rank.
ExchangeStrategy ChooseExchange(const ExchangeCosts& costs, const ExchangeLoad& load,
                                std::span<const ExchangeStrategy> allowed);

}  // namespace switchyard
