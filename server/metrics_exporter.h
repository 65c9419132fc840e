// The engine's counters as Prometheus text (exposition format 0.0.4), with vLLM's metric names under our prefix.
#pragma once

#include <string>
#include <vector>

#include "server/edge.h"
#include "server/engine_slot.h"

namespace switchyard {

struct MetricsOptions {
  // Every metric is written once per prefix: {"switchyard"}, or {"switchyard", "vllm"} for existing dashboards.
  std::vector<std::string> prefixes = {"switchyard"};
  bool per_expert = false;  // moe_expert_tokens_total: layers x experts series
};

// Thread safety: immutable.
class MetricsExporter {
 public:
  // `slot` and `edge` are borrowed.
  MetricsExporter(const EngineSlot* slot, MetricsOptions options, const Edge* edge);

  // One consistent snapshot of the engine, once it exists, and the edge's counters. Of keys, the first 100
  // names have series of their own, and the others one together.
  std::string Render() const;
  static const char* ContentType() { return "text/plain; version=0.0.4; charset=utf-8"; }

 private:
  const EngineSlot* slot_;  // borrowed
  const Edge* edge_;        // borrowed
  const MetricsOptions options_;
};

}  // namespace switchyard
