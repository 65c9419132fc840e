// Spans as OTLP/HTTP wants them in JSON (OpenTelemetry protocol 1.x, ExportTraceServiceRequest).
#pragma once

#include <string>
#include <vector>

#include "server/telemetry/span.h"

namespace switchyard {

std::string ToOtlpJson(const std::vector<Span>& spans);

}  // namespace switchyard
