// Sends spans to an OpenTelemetry collector, in batches, from a thread of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/http/post.h"
#include "server/telemetry/batch_queue.h"
#include "server/telemetry/span.h"

namespace switchyard {

struct SpanExporterConfig {
  http::PostTarget collector;  // its path is the whole one: ".../v1/traces"
  size_t max_waiting = 8192;   // spans; more are dropped
  size_t max_batch = 512;
  absl::Duration period = absl::Seconds(1);  // between a span and its batch
  absl::Duration limit = absl::Seconds(5);   // for one batch
};

// Thread safety: every member from any thread. Destruction sends what waits, unless the collector does not answer.
class SpanExporter {
 public:
  explicit SpanExporter(const SpanExporterConfig& config);

  // Never blocks.
  void Export(Span span) { queue_.Push(std::move(span)); }
  uint64_t exported() const { return queue_.consumed(); }
  // For want of room, or because the collector did not take them.
  uint64_t dropped() const { return queue_.dropped(); }

 private:
  bool Send(const std::vector<Span>& spans);

  const SpanExporterConfig config_;
  absl::Time last_warning_ = absl::InfinitePast();  // the queue's thread's
  BatchQueue<Span> queue_;                          // ends first
};

}  // namespace switchyard
