// Counters of an engine, read as one consistent snapshot. Names follow the metrics of API.md.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/expert_cache.h"

namespace switchyard {

// Cumulative histogram with fixed upper bounds (seconds); the last bucket is +infinity.
class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  // Counts `value` in the first bucket whose bound is not below it.
  void Observe(double value);
  const std::vector<double>& bounds() const { return bounds_; }
  const std::vector<uint64_t>& counts() const { return counts_; }  // per bucket, not cumulative; [bounds + 1]
  double sum() const { return sum_; }
  uint64_t count() const { return count_; }

 private:
  std::vector<double> bounds_;  // ascending
  std::vector<uint64_t> counts_ = std::vector<uint64_t>(1);
  double sum_ = 0;
  uint64_t count_ = 0;
};

// Why a request was turned away before it ran.
enum class RejectReason { kQueuedRequests, kQueuedTokens, kQueueTime };
inline constexpr size_t kNumRejectReasons = 3;
const char* Name(RejectReason reason);  // "queued_requests", "queued_tokens", "queue_time"

struct EngineStats {
  int64_t num_requests_running = 0;
  int64_t num_requests_waiting = 0;
  int64_t num_tokens_waiting = 0;  // prompts of requests that have never run
  int64_t kv_pages_total = 0;      // all ranks together
  int64_t kv_pages_used = 0;
  uint64_t num_steps = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generation_tokens = 0;
  uint64_t num_preemptions = 0;
  uint64_t prefix_cache_queries = 0;  // tokens of prompts that were looked up, and those of them that were there
  uint64_t prefix_cache_hits = 0;
  uint64_t requests_stop = 0;  // finished, by reason
  uint64_t requests_length = 0;
  uint64_t requests_abort = 0;
  uint64_t requests_error = 0;
  std::array<uint64_t, kNumRejectReasons> requests_rejected = {};  // indexed by RejectReason
  uint64_t num_rank_restarts = 0;
  Histogram time_to_first_token;
  Histogram inter_token_latency;
  Histogram time_per_output_token;
  Histogram e2e_latency;
  Histogram queue_time;
  Histogram prefill_time;
  Histogram decode_time;

  // Expert routing since start: [layers][experts] tokens.
  std::vector<std::vector<uint64_t>> expert_tokens;
  // Busiest rank's routed tokens over the mean, per layer, since start.
  std::vector<double> rank_load_max_over_mean;
  // [ranks]: how much longer a rank was in dispatch and combine than the one that was there the least, the straggler
  // that the others waited for. Summed over steps; zeros on GPUs, where the host does not see the exchange.
  std::vector<double> straggler_wait_seconds;
  double dispatch_seconds = 0;  // of rank 0, summed over layers and steps
  double expert_seconds = 0;
  double combine_seconds = 0;
  std::array<uint64_t, 3> exchange_bytes = {};  // indexed by ExchangeStrategy: payload that rank 0 sent
  ExpertCacheStats offload;                     // --offload-experts, of all ranks and layers
};

// In bits, of one layer's tokens per expert: log2(experts) when all are used alike, 0 when one takes every token.
double RoutingEntropy(const std::vector<uint64_t>& expert_tokens);
// Experts of one layer that no token was routed to.
int64_t NumDeadExperts(const std::vector<uint64_t>& expert_tokens);

}  // namespace switchyard
