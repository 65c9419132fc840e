// What is recorded of requests beyond metrics: the access log and traces. Both are off unless asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/span_exporter.h"
#include "server/telemetry/trace_context.h"

namespace switchyard {

struct TelemetryConfig {
  std::string access_log;  // a file, or "-"; empty: none
  std::optional<SpanExporterConfig> spans;
};

// Thread safety: every member from any thread.
class Telemetry {
 public:
  // INVALID_ARGUMENT names an access log that cannot be opened.
  static absl::StatusOr<std::unique_ptr<Telemetry>> Create(const TelemetryConfig& config);
  Telemetry() = default;  // nothing is recorded

  // The trace of a request whose header `traceparent` this is; without a usable one a new trace, if they are exported.
  TraceContext TraceOf(absl::string_view traceparent) const;
  bool wants(const TraceContext& trace) const { return spans_ != nullptr && trace.sampled && !trace.trace_id.empty(); }

  void Export(Span span);
  void Log(const RequestRecord& record);
  absl::Status ReopenLog();

  struct Counts {
    uint64_t log_lines_dropped = 0;
    uint64_t spans_exported = 0;
    uint64_t spans_dropped = 0;
  };
  Counts counts() const;

 private:
  std::unique_ptr<AccessLog> log_;       // null: none
  std::unique_ptr<SpanExporter> spans_;  // null: none
};

}  // namespace switchyard
