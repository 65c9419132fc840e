#include "server/telemetry/trace_context.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_format.h"

namespace switchyard {
namespace {

constexpr size_t kTraceIdDigits = 32;
constexpr size_t kSpanIdDigits = 16;
constexpr size_t kLength = 2 + 1 + kTraceIdDigits + 1 + kSpanIdDigits + 1 + 2;

bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(absl::string_view text) { return IsHex(text) && text.find_first_not_of('0') != absl::string_view::npos; }

std::string RandomHex(size_t digits) {
  std::random_device random;
  std::string hex;
  while (hex.size() < digits) absl::StrAppendFormat(&hex, "%08x", random());
  return hex;
}

}  // namespace

std::string NewSpanId() { return RandomHex(kSpanIdDigits); }

std::optional<TraceContext> ContinueTrace(absl::string_view traceparent) {
  if (traceparent.size() < kLength) return std::nullopt;
  const absl::string_view version = traceparent.substr(0, 2);
  const absl::string_view trace_id = traceparent.substr(3, kTraceIdDigits);
  const absl::string_view span_id = traceparent.substr(4 + kTraceIdDigits, kSpanIdDigits);
  const absl::string_view flags = traceparent.substr(kLength - 2, 2);
  const bool dashes =
      traceparent[2] == '-' && traceparent[3 + kTraceIdDigits] == '-' && traceparent[kLength - 3] == '-';
  // Of later versions only the beginning is known.
  const bool ends = traceparent.size() == kLength || (version != "00" && traceparent[kLength] == '-');
  if (!dashes || !ends || !IsHex(version) || version == "ff" || !IsId(trace_id) || !IsId(span_id) || !IsHex(flags)) {
    return std::nullopt;
  }
  const char last = flags[1];
  const int bits = last <= '9' ? last - '0' : last - 'a' + 10;
  return TraceContext{.trace_id = std::string(trace_id),
                      .span_id = NewSpanId(),
                      .parent_span_id = std::string(span_id),
                      .sampled = (bits & 1) != 0};
}

TraceContext BeginTrace() { return {.trace_id = RandomHex(kTraceIdDigits), .span_id = NewSpanId()}; }

}  // namespace switchyard
