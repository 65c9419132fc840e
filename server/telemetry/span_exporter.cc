#include "server/telemetry/span_exporter.h"

#include <spdlog/spdlog.h>

#include <string>

#include "absl/time/clock.h"
#include "server/telemetry/otlp_json.h"

namespace switchyard {
namespace {

constexpr absl::Duration kWarningPeriod = absl::Seconds(60);

}  // namespace

SpanExporter::SpanExporter(const SpanExporterConfig& config)
    : config_(config),
      queue_({.capacity = config.max_waiting, .max_batch = config.max_batch, .period = config.period},
             [this](const std::vector<Span>& spans) { return Send(spans); }) {}

bool SpanExporter::Send(const std::vector<Span>& spans) {
  const absl::Status status = http::Post(config_.collector, "application/json", ToOtlpJson(spans), config_.limit);
  if (status.ok()) return true;
  if (absl::Now() - last_warning_ > kWarningPeriod) {
    last_warning_ = absl::Now();
    spdlog::warn("--otlp-endpoint: {} spans are dropped: {}", spans.size(), std::string(status.message()));
  }
  return false;
}

}  // namespace switchyard
