#include "server/telemetry/telemetry.h"

#include <utility>

namespace switchyard {

absl::StatusOr<std::unique_ptr<Telemetry>> Telemetry::Create(const TelemetryConfig& config) {
  auto telemetry = std::make_unique<Telemetry>();
  if (!config.access_log.empty()) {
    absl::StatusOr<std::unique_ptr<AccessLog>> log = AccessLog::Open(config.access_log);
    if (!log.ok()) return log.status();
    telemetry->log_ = *std::move(log);
  }
  if (config.spans.has_value()) telemetry->spans_ = std::make_unique<SpanExporter>(*config.spans);
  return telemetry;
}

TraceContext Telemetry::TraceOf(absl::string_view traceparent) const {
  if (std::optional<TraceContext> continued = ContinueTrace(traceparent)) return *std::move(continued);
  return spans_ == nullptr ? TraceContext() : BeginTrace();
}

void Telemetry::Export(Span span) {
  if (spans_ != nullptr) spans_->Export(std::move(span));
}

void Telemetry::Log(const RequestRecord& record) {
  if (log_ != nullptr) log_->Write(record);
}

absl::Status Telemetry::ReopenLog() { return log_ == nullptr ? absl::OkStatus() : log_->Reopen(); }

Telemetry::Counts Telemetry::counts() const {
  Counts counts;
  if (log_ != nullptr) counts.log_lines_dropped = log_->dropped();
  if (spans_ != nullptr) {
    counts.spans_exported = spans_->exported();
    counts.spans_dropped = spans_->dropped();
  }
  return counts;
}

}  // namespace switchyard
