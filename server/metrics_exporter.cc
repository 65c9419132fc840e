#include "server/metrics_exporter.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <utility>

#include "parallel/exchange_strategy.h"

namespace switchyard {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr size_t kMaxKeySeries = 100;

// Builds the families of one prefix; every series carries the model's name, as vLLM's do.
class Families {
 public:
  Families(std::string prefix, std::string model) : prefix_(std::move(prefix)), model_(std::move(model)) {}

  void Gauge(const std::string& name, const std::string& help, double value, Labels labels = {}) {
    Series(name, help, MetricType::Gauge, std::move(labels)).gauge.value = value;
  }
  void Counter(const std::string& name, const std::string& help, double value, Labels labels = {}) {
    Series(name, help, MetricType::Counter, std::move(labels)).counter.value = value;
  }
  void Distribution(const std::string& name, const std::string& help, const Histogram& histogram) {
    ClientMetric::Histogram& out = Series(name, help, MetricType::Histogram, {}).histogram;
    out.sample_count = histogram.count();
    out.sample_sum = histogram.sum();
    uint64_t cumulative = 0;
    for (size_t i = 0; i < histogram.counts().size(); ++i) {
      cumulative += histogram.counts()[i];
      const bool last = i == histogram.bounds().size();
      out.bucket.push_back({.cumulative_count = cumulative,
                            .upper_bound = last ? std::numeric_limits<double>::infinity() : histogram.bounds()[i]});
    }
    if (histogram.counts().empty()) {
      out.bucket.push_back({.cumulative_count = 0, .upper_bound = std::numeric_limits<double>::infinity()});
    }
  }

  const std::vector<MetricFamily>& families() const { return families_; }

 private:
  // Series of one family are added one after another.
  ClientMetric& Series(const std::string& name, const std::string& help, MetricType type, Labels labels) {
    const std::string full_name = prefix_ + ":" + name;
    if (families_.empty() || families_.back().name != full_name) {
      families_.push_back({.name = full_name, .help = help, .type = type, .metric = {}});
    }
    ClientMetric metric;
    metric.label.push_back({"model_name", model_});
    for (ClientMetric::Label& label : labels) metric.label.push_back(std::move(label));
    families_.back().metric.push_back(std::move(metric));
    return families_.back().metric.back();
  }

  const std::string prefix_;
  const std::string model_;
  std::vector<MetricFamily> families_;
};

void AddRequests(const EngineStats& stats, Families& out) {
  out.Gauge("num_requests_running", "Requests being generated.", static_cast<double>(stats.num_requests_running));
  out.Gauge("num_requests_waiting", "Requests waiting to be scheduled.",
            static_cast<double>(stats.num_requests_waiting));
  out.Gauge("num_tokens_waiting", "Prompt tokens of requests that have not begun.",
            static_cast<double>(stats.num_tokens_waiting));
  out.Gauge("kv_cache_usage_perc", "KV pages in use, of all ranks; 1 is all of them.",
            stats.kv_pages_total == 0
                ? 0.0
                : static_cast<double>(stats.kv_pages_used) / static_cast<double>(stats.kv_pages_total));
  out.Gauge("kv_pages_used", "KV pages in use, of all ranks.", static_cast<double>(stats.kv_pages_used));
  out.Gauge("kv_pages_total", "KV pages, of all ranks.", static_cast<double>(stats.kv_pages_total));
  out.Counter("engine_steps_total", "Forward passes.", static_cast<double>(stats.num_steps));
  out.Counter("prompt_tokens_total", "Prompt tokens of requests that have a token, cached ones included.",
              static_cast<double>(stats.prompt_tokens));
  out.Counter("generation_tokens_total", "Tokens generated.", static_cast<double>(stats.generation_tokens));
  out.Counter("num_preemptions_total", "Requests preempted for want of KV pages.",
              static_cast<double>(stats.num_preemptions));
  out.Counter("prefix_cache_queries_total", "Prompt tokens that were looked up in the prefix cache.",
              static_cast<double>(stats.prefix_cache_queries));
  out.Counter("prefix_cache_hits_total", "Prompt tokens that were found there, and not computed again.",
              static_cast<double>(stats.prefix_cache_hits));
  const std::string finished = "request_success_total";
  const std::string help = "Finished requests by reason.";
  out.Counter(finished, help, static_cast<double>(stats.requests_stop), {{"finished_reason", "stop"}});
  out.Counter(finished, help, static_cast<double>(stats.requests_length), {{"finished_reason", "length"}});
  out.Counter(finished, help, static_cast<double>(stats.requests_abort), {{"finished_reason", "abort"}});
  out.Counter(finished, help, static_cast<double>(stats.requests_error), {{"finished_reason", "error"}});
  for (size_t i = 0; i < kNumRejectReasons; ++i) {
    out.Counter("requests_rejected_total", "Requests turned away before they ran, by reason.",
                static_cast<double>(stats.requests_rejected[i]), {{"reason", Name(static_cast<RejectReason>(i))}});
  }
  out.Counter("rank_restarts_total", "Times that the ranks were built anew after one was lost.",
              static_cast<double>(stats.num_rank_restarts));
}

void AddLatencies(const EngineStats& stats, Families& out) {
  out.Distribution("time_to_first_token_seconds", "From submission to the first token.", stats.time_to_first_token);
  out.Distribution("inter_token_latency_seconds", "Between two tokens of a request.", stats.inter_token_latency);
  out.Distribution("request_time_per_output_token_seconds", "Mean of a request after its first token.",
                   stats.time_per_output_token);
  out.Distribution("e2e_request_latency_seconds", "From submission to the last token.", stats.e2e_latency);
  out.Distribution("request_queue_time_seconds", "From submission to the first scheduled step.", stats.queue_time);
  out.Distribution("request_prefill_time_seconds", "From the first scheduled step to the first token.",
                   stats.prefill_time);
  out.Distribution("request_decode_time_seconds", "From the first token to the last.", stats.decode_time);
}

void AddExperts(const EngineStats& stats, bool per_expert, Families& out) {
  int64_t dead = 0;
  for (const std::vector<uint64_t>& layer : stats.expert_tokens) dead += NumDeadExperts(layer);
  out.Gauge("moe_dead_experts", "Experts, over all layers, that no token was routed to since start.",
            static_cast<double>(dead));
  for (size_t layer = 0; layer < stats.rank_load_max_over_mean.size(); ++layer) {
    out.Gauge("moe_rank_load_max_over_mean", "Routed tokens of the busiest rank over the mean, since start.",
              stats.rank_load_max_over_mean[layer], {{"layer", std::to_string(layer)}});
  }
  for (size_t layer = 0; layer < stats.expert_tokens.size(); ++layer) {
    out.Gauge("moe_routing_entropy", "Entropy in bits of the tokens' distribution over experts, since start.",
              RoutingEntropy(stats.expert_tokens[layer]), {{"layer", std::to_string(layer)}});
  }
  for (size_t layer = 0; per_expert && layer < stats.expert_tokens.size(); ++layer) {
    for (size_t expert = 0; expert < stats.expert_tokens[layer].size(); ++expert) {
      out.Counter("moe_expert_tokens_total", "Tokens routed to an expert.",
                  static_cast<double>(stats.expert_tokens[layer][expert]),
                  {{"layer", std::to_string(layer)}, {"expert", std::to_string(expert)}});
    }
  }
  for (size_t rank = 0; rank < stats.straggler_wait_seconds.size(); ++rank) {
    out.Counter("moe_straggler_wait_seconds",
                "Time that a rank was in dispatch and combine beyond the rank that was there the least.",
                stats.straggler_wait_seconds[rank], {{"rank", std::to_string(rank)}});
  }
  out.Counter("moe_dispatch_seconds", "Time that rank 0 spent in dispatch.", stats.dispatch_seconds);
  out.Counter("moe_expert_seconds", "Time that rank 0 spent in its experts.", stats.expert_seconds);
  out.Counter("moe_combine_seconds", "Time that rank 0 spent in combine.", stats.combine_seconds);
  for (size_t i = 0; i < stats.exchange_bytes.size(); ++i) {
    out.Counter("exchange_bytes_total", "Payload that rank 0 sent, by exchange strategy.",
                static_cast<double>(stats.exchange_bytes[i]), {{"strategy", Name(static_cast<ExchangeStrategy>(i))}});
  }
}

// Of all ranks; zeros without --offload-experts.
void AddOffload(const ExpertCacheStats& offload, Families& out) {
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  out.Counter("moe_offload_experts_needed_total", "Experts that layers needed, where some are offloaded.",
              count(offload.num_needed));
  out.Counter("moe_offload_hits_total", "Needed experts that were on the device, or on their way.",
              count(offload.num_hits));
  out.Gauge("moe_offload_hit_rate", "Share of the needed experts that were on the device, since start.",
            offload.num_needed == 0 ? 0.0 : count(offload.num_hits) / count(offload.num_needed));
  out.Counter("moe_offload_prefetched_total", "Experts copied because the next layer's router chose them.",
              count(offload.num_prefetched));
  out.Counter("moe_offload_prefetch_hits_total", "Prefetched experts that the next layer did need.",
              count(offload.num_prefetch_hits));
  out.Counter("moe_offload_copied_bytes_total", "Bytes of experts copied to devices.", count(offload.bytes_copied));
  out.Counter("moe_offload_stall_seconds_total", "Time that computing waited for such copies.", offload.stall_seconds);
}

// At most kMaxKeySeries names and one for the rest, however many keys there are.
std::vector<KeyUsage> FewKeys(std::vector<KeyUsage> keys) {
  if (keys.size() <= kMaxKeySeries) return keys;
  KeyUsage others{.name = "(others)"};
  for (size_t i = kMaxKeySeries; i < keys.size(); ++i) {
    others.running += keys[i].running;
    others.requests += keys[i].requests;
    others.refused_concurrency += keys[i].refused_concurrency;
    others.refused_tokens += keys[i].refused_tokens;
    others.prompt_tokens += keys[i].prompt_tokens;
    others.generation_tokens += keys[i].generation_tokens;
  }
  keys.resize(kMaxKeySeries);
  keys.push_back(std::move(others));
  return keys;
}

void AddEdge(const Edge& edge, Families& out) {
  const std::vector<KeyUsage> keys = FewKeys(edge.authorizer.usage());
  for (const KeyUsage& key : keys) {
    out.Gauge("key_requests_running", "Requests in flight, by API key.", static_cast<double>(key.running),
              {{"key", key.name}});
  }
  for (const KeyUsage& key : keys) {
    out.Counter("key_requests_total", "Requests admitted, by API key.", static_cast<double>(key.requests),
                {{"key", key.name}});
  }
  for (const KeyUsage& key : keys) {
    const char* help = "Requests refused for a limit of their API key.";
    out.Counter("key_requests_refused_total", help, static_cast<double>(key.refused_concurrency),
                {{"key", key.name}, {"limit", "concurrent"}});
    out.Counter("key_requests_refused_total", help, static_cast<double>(key.refused_tokens),
                {{"key", key.name}, {"limit", "tokens"}});
  }
  for (const KeyUsage& key : keys) {
    const char* help = "Tokens of admitted requests, by API key.";
    out.Counter("key_tokens_total", help, static_cast<double>(key.prompt_tokens),
                {{"key", key.name}, {"of", "prompt"}});
    out.Counter("key_tokens_total", help, static_cast<double>(key.generation_tokens),
                {{"key", key.name}, {"of", "generation"}});
  }
  const Telemetry::Counts counts = edge.telemetry->counts();
  out.Counter("access_log_lines_dropped_total", "Lines of the access log that could not be written.",
              static_cast<double>(counts.log_lines_dropped));
  out.Counter("trace_spans_exported_total", "Spans that the collector took.",
              static_cast<double>(counts.spans_exported));
  out.Counter("trace_spans_dropped_total", "Spans for which there was no room, or no collector.",
              static_cast<double>(counts.spans_dropped));
}

}  // namespace

MetricsExporter::MetricsExporter(const EngineSlot* slot, MetricsOptions options, const Edge* edge)
    : slot_(slot), edge_(edge), options_(std::move(options)) {}

std::string MetricsExporter::Render() const {
  const EngineSlot::Snapshot now = slot_->snapshot();
  EngineStats stats;
  if (now.engine != nullptr) stats = now.engine->Stats();

  std::string text;
  for (const std::string& prefix : options_.prefixes) {
    Families families(prefix, slot_->served_model_name());
    families.Gauge("model_loaded", "1 while requests are taken.", now.state == EngineSlot::State::kServing ? 1 : 0);
    if (now.engine != nullptr) {
      AddRequests(stats, families);
      AddLatencies(stats, families);
      AddExperts(stats, options_.per_expert, families);
      AddOffload(stats.offload, families);
    }
    AddEdge(*edge_, families);
    text += prometheus::TextSerializer().Serialize(families.families());
  }
  return text;
}

}  // namespace switchyard
