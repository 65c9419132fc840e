// W3C Trace Context, level 1: which trace a request belongs to.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace switchyard {

struct TraceContext {
  std::string trace_id;        // 32 lower-case hexadecimal digits; empty: no trace
  std::string span_id;         // 16; of the request here
  std::string parent_span_id;  // of the caller's span; empty: the trace begins here
  bool sampled = true;         // what the caller wants recorded
};

// The caller's trace, continued with a new span; nullopt unless `traceparent` is well-formed:
// "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01". Later versions are read as far as version 00 goes.
std::optional<TraceContext> ContinueTrace(absl::string_view traceparent);
TraceContext BeginTrace();
std::string NewSpanId();

}  // namespace switchyard
