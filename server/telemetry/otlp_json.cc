#include "server/telemetry/otlp_json.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/version.h"

namespace switchyard {
namespace {

using nlohmann::ordered_json;

// Of the protocol's enumerations.
constexpr int kInternal = 1;
constexpr int kServer = 2;
constexpr int kError = 2;

ordered_json StringValue(const std::string& text) { return {{"stringValue", text}}; }

ordered_json ToJson(const Attribute& attribute) {
  ordered_json value;
  if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    value = StringValue(*text);
  } else if (const auto* number = std::get_if<int64_t>(&attribute.value)) {
    value = {{"intValue", absl::StrCat(*number)}};  // 64 bits are strings in protobuf's JSON
  } else if (const auto* real = std::get_if<double>(&attribute.value)) {
    value = {{"doubleValue", *real}};
  } else {
    ordered_json values = ordered_json::array();
    for (const std::string& text : std::get<std::vector<std::string>>(attribute.value)) {
      values.push_back(StringValue(text));
    }
    value = {{"arrayValue", {{"values", std::move(values)}}}};
  }
  return {{"key", attribute.name}, {"value", std::move(value)}};
}

ordered_json ToJson(const Span& span) {
  ordered_json json = {{"traceId", span.trace_id}, {"spanId", span.span_id}};
  if (!span.parent_span_id.empty()) json["parentSpanId"] = span.parent_span_id;
  json["name"] = span.name;
  json["kind"] = span.is_server ? kServer : kInternal;
  json["startTimeUnixNano"] = absl::StrCat(absl::ToUnixNanos(span.begin));
  json["endTimeUnixNano"] = absl::StrCat(absl::ToUnixNanos(span.end));
  json["attributes"] = ordered_json::array();
  for (const Attribute& attribute : span.attributes) json["attributes"].push_back(ToJson(attribute));
  if (!span.error.empty()) json["status"] = {{"code", kError}, {"message", span.error}};
  return json;
}

}  // namespace

std::string ToOtlpJson(const std::vector<Span>& spans) {
  ordered_json all = ordered_json::array();
  for (const Span& span : spans) all.push_back(ToJson(span));
  ordered_json resource = ordered_json::array();
  resource.push_back(ToJson(Attribute{"service.name", std::string("switchyard")}));
  resource.push_back(ToJson(Attribute{"service.version", std::string(kServerVersion)}));
  ordered_json scope_spans = {{"scope", {{"name", "switchyard"}, {"version", kServerVersion}}},
                              {"spans", std::move(all)}};
  ordered_json resource_spans = {{"resource", {{"attributes", std::move(resource)}}},
                                 {"scopeSpans", ordered_json::array({std::move(scope_spans)})}};
  const ordered_json request = {{"resourceSpans", ordered_json::array({std::move(resource_spans)})}};
  return request.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace switchyard
