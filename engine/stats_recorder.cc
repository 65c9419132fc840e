#include "engine/stats_recorder.h"

#include <algorithm>
#include <vector>

namespace switchyard {
namespace {

// Bucket bounds in seconds, those of vLLM, so that its dashboards' quantiles stay meaningful.
const std::vector<double> kFirstTokenBounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25, 0.5,
                                               0.75,  1.0,   2.5,  5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0};
const std::vector<double> kTokenBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,  0.15, 0.2,  0.3,
                                          0.4,   0.5,    0.75,  1.0,  2.5,   5.0,  7.5,   10.0, 20.0, 40.0, 80.0};
const std::vector<double> kRequestBounds = {0.01, 0.05, 0.1,  0.3,  0.5,  0.8,  1.0,   1.5,   2.0,   2.5,   5.0,   10.0,
                                            15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0};

double SecondsBetween(absl::Time begin, absl::Time end) { return absl::ToDoubleSeconds(end - begin); }

}  // namespace

StatsRecorder::StatsRecorder(const EnginePlan& plan, const DecoderSpec& spec) : plan_(plan), spec_(spec) {
  stats_.time_to_first_token = Histogram(kFirstTokenBounds);
  stats_.inter_token_latency = Histogram(kTokenBounds);
  stats_.time_per_output_token = Histogram(kTokenBounds);
  stats_.e2e_latency = Histogram(kRequestBounds);
  stats_.queue_time = Histogram(kRequestBounds);
  stats_.prefill_time = Histogram(kRequestBounds);
  stats_.decode_time = Histogram(kRequestBounds);
  stats_.expert_tokens.assign(static_cast<size_t>(spec.num_layers),
                              std::vector<uint64_t>(static_cast<size_t>(spec.num_experts), 0));
  stats_.straggler_wait_seconds.assign(static_cast<size_t>(plan.world_size), 0);
}

EngineStats StatsRecorder::Snapshot() const {
  const std::lock_guard lock(mu_);
  EngineStats stats = stats_;
  for (const std::vector<uint64_t>& tokens : stats.expert_tokens) {
    std::vector<double> load(static_cast<size_t>(plan_.world_size), 0);
    double total = 0;
    for (int slot = 0; slot < plan_.placement.num_slots(); ++slot) {
      const double share = static_cast<double>(tokens[static_cast<size_t>(plan_.placement.ExpertOfSlot(slot))]);
      load[static_cast<size_t>(plan_.placement.RankOfSlot(slot))] += share;
      total += share;
    }
    const double mean = total / plan_.world_size;
    stats.rank_load_max_over_mean.push_back(mean > 0 ? *std::max_element(load.begin(), load.end()) / mean : 1.0);
  }
  return stats;
}

void StatsRecorder::RecordStep(const Batch& batch, const std::vector<StepOutput>& outputs) {
  const std::lock_guard lock(mu_);
  ++stats_.num_steps;
  const size_t num_experts = static_cast<size_t>(spec_.num_experts);
  for (const StepOutput& output : outputs) {
    for (size_t i = 0; i < output.expert_tokens.size(); ++i) {
      stats_.expert_tokens[i / num_experts][i % num_experts] += output.expert_tokens[i];
    }
    stats_.offload += output.offload;
  }
  const auto in_exchange = [](const StepOutput& output) { return output.dispatch_seconds + output.combine_seconds; };
  double least = in_exchange(outputs.front());
  for (const StepOutput& output : outputs) least = std::min(least, in_exchange(output));
  for (size_t rank = 0; rank < outputs.size(); ++rank) {
    stats_.straggler_wait_seconds[rank] += in_exchange(outputs[rank]) - least;
  }
  const StepOutput& own = outputs.front();
  stats_.dispatch_seconds += own.dispatch_seconds;
  stats_.expert_seconds += own.expert_seconds;
  stats_.combine_seconds += own.combine_seconds;
  stats_.exchange_bytes[static_cast<size_t>(batch.exchange)] += own.exchange_bytes;
}

void StatsRecorder::RecordToken(const Sequence& sequence, absl::Time previous, absl::Time now) {
  const std::lock_guard lock(mu_);
  ++stats_.generation_tokens;
  if (previous == absl::InfinitePast()) {
    stats_.prompt_tokens += static_cast<uint64_t>(sequence.num_prompt_tokens());
    stats_.time_to_first_token.Observe(SecondsBetween(sequence.submitted(), now));
  } else {
    stats_.inter_token_latency.Observe(SecondsBetween(previous, now));
  }
}

void StatsRecorder::RecordFinished(const Sequence& sequence, absl::Time now) {
  RecordReason(sequence.finish_reason().value());
  const std::lock_guard lock(mu_);
  stats_.e2e_latency.Observe(SecondsBetween(sequence.submitted(), now));
  if (!sequence.has_run()) return;
  stats_.queue_time.Observe(SecondsBetween(sequence.submitted(), sequence.first_scheduled));
  if (sequence.num_generated() == 0) return;
  const double decode_seconds = SecondsBetween(sequence.first_token_time(), sequence.last_token_time());
  stats_.prefill_time.Observe(SecondsBetween(sequence.first_scheduled, sequence.first_token_time()));
  stats_.decode_time.Observe(decode_seconds);
  if (sequence.num_generated() > 1) {
    stats_.time_per_output_token.Observe(decode_seconds / static_cast<double>(sequence.num_generated() - 1));
  }
}

void StatsRecorder::RecordReason(FinishReason reason) {
  const std::lock_guard lock(mu_);
  switch (reason) {
    case FinishReason::kStop:
      ++stats_.requests_stop;
      break;
    case FinishReason::kLength:
      ++stats_.requests_length;
      break;
    case FinishReason::kAborted:
      ++stats_.requests_abort;
      break;
    case FinishReason::kError:
      ++stats_.requests_error;
      break;
  }
}

void StatsRecorder::RecordRejected(RejectReason reason) {
  const std::lock_guard lock(mu_);
  ++stats_.requests_rejected[static_cast<size_t>(reason)];
}

void StatsRecorder::SetGauges(const Scheduler& scheduler) {
  const std::lock_guard lock(mu_);
  stats_.num_requests_running = scheduler.num_running();
  stats_.num_requests_waiting = scheduler.num_waiting();
  stats_.num_tokens_waiting = scheduler.backlog().prompt_tokens;
  stats_.kv_pages_total = scheduler.pages_total();
  stats_.kv_pages_used = scheduler.pages_used();
  stats_.num_preemptions = scheduler.num_preemptions();
  stats_.prefix_cache_queries = scheduler.prefix_cache_counts().queries;
  stats_.prefix_cache_hits = scheduler.prefix_cache_counts().hits;
}

}  // namespace switchyard
