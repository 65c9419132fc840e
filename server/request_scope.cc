#include "server/request_scope.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/retry_after.h"

namespace switchyard {
namespace {

constexpr char kProvider[] = "switchyard";

// OpenTelemetry semantic conventions, "Gen AI": what was asked for, and not what was said.
std::vector<Attribute> RequestAttributes(const GenerationFacts& facts) {
  const SamplingParams& sampling = facts.request->sampling;
  const StopParams& stop = facts.request->stop;
  std::vector<Attribute> attributes = {
      {"gen_ai.operation.name", facts.operation},
      {"gen_ai.provider.name", std::string(kProvider)},
      {"gen_ai.request.model", facts.model},
      {"gen_ai.response.model", facts.model},
      {"gen_ai.response.id", facts.response_id},
      {"gen_ai.request.max_tokens", int64_t{stop.max_tokens}},
      {"gen_ai.request.temperature", double{sampling.temperature}},
      {"gen_ai.request.top_p", double{sampling.top_p}},
      {"gen_ai.request.top_k", static_cast<double>(sampling.top_k)},
      {"gen_ai.request.frequency_penalty", double{sampling.frequency_penalty}},
      {"gen_ai.request.presence_penalty", double{sampling.presence_penalty}},
      {"gen_ai.usage.input_tokens", facts.prompt_tokens},
  };
  if (facts.num_choices > 1) attributes.push_back({"gen_ai.request.choice.count", facts.num_choices});
  if (sampling.seed.has_value()) {
    attributes.push_back({"gen_ai.request.seed", static_cast<int64_t>(*sampling.seed)});
  }
  return attributes;
}

}  // namespace

RequestScope::RequestScope(Edge* edge, absl::string_view traceparent)
    : edge_(edge), trace_(edge->telemetry->TraceOf(traceparent)) {}

bool RequestScope::Authorize(absl::string_view authorization) {
  if (!edge_->authorizer.required()) return true;
  std::shared_ptr<KeyAccount> account = edge_->authorizer.Find(authorization);
  const bool allowed = account != nullptr;
  absl::MutexLock lock(&mu_);
  account_ = std::move(account);
  return allowed;
}

absl::Status RequestScope::Admit(const GenerationFacts& facts) {
  absl::MutexLock lock(&mu_);
  if (account_ != nullptr) {
    KeyRefusal refusal;
    ticket_ = account_->Admit(facts.prompt_tokens, &refusal);
    if (ticket_ == nullptr) {
      return WithRetryAfter(absl::ResourceExhaustedError(refusal.message), refusal.retry_after_seconds);
    }
  }
  admitted_ = absl::Now();
  prompt_tokens_ = facts.prompt_tokens;
  choices_.resize(static_cast<size_t>(facts.num_choices));
  if (edge_->telemetry->wants(trace_)) {
    span_name_ = absl::StrCat(facts.operation, " ", facts.model);
    attributes_ = RequestAttributes(facts);
  }
  return absl::OkStatus();
}

void RequestScope::OnUpdate(size_t choice, const RequestUpdate& update) {
  absl::MutexLock lock(&mu_);
  if (!update.tokens.empty()) {
    if (!first_token_.has_value()) first_token_ = absl::Now();
    if (ticket_ != nullptr) ticket_->Charge(static_cast<int64_t>(update.tokens.size()));
  }
  choices_[choice].completion_tokens += static_cast<int64_t>(update.tokens.size());
  choices_[choice].finish = update.finish;
  if (update.finish.has_value() && !span_name_.empty()) ExportPhases(choice, update.timings);
}

Span RequestScope::PartOf(std::string name, absl::Time begin, absl::Time end) const {
  return {.trace_id = trace_.trace_id,
          .span_id = NewSpanId(),
          .parent_span_id = trace_.span_id,
          .name = std::move(name),
          .begin = begin,
          .end = end};
}

void RequestScope::ExportPhases(size_t choice, const RequestTimings& timings) {
  absl::Time begin = *admitted_;
  for (const auto& [name, duration] : {std::pair("queue", timings.queue), std::pair("prefill", timings.prefill),
                                       std::pair("decode", timings.decode)}) {
    if (duration <= absl::ZeroDuration()) continue;  // it did not come to this
    Span span = PartOf(name, begin, begin + duration);
    span.attributes.push_back({"switchyard.choice", static_cast<int64_t>(choice)});
    if (span.name == "decode") {
      span.attributes.push_back({"gen_ai.usage.output_tokens", choices_[choice].completion_tokens});
    }
    begin = span.end;
    edge_->telemetry->Export(std::move(span));
  }
}

void RequestScope::End(RequestRecord record) {
  absl::MutexLock lock(&mu_);
  record.trace_id = trace_.trace_id;
  if (account_ != nullptr) record.key = account_->name();
  if (admitted_.has_value()) {
    record.prompt_tokens = prompt_tokens_;
    int64_t completion_tokens = 0;
    for (const Choice& choice : choices_) completion_tokens += choice.completion_tokens;
    record.completion_tokens = completion_tokens;
    if (!record.time_to_first_byte.has_value() && first_token_.has_value()) {
      record.time_to_first_byte = *first_token_ - record.begin;
    }
  }
  edge_->telemetry->Log(record);
  // Of other requests only those that somebody traces: probes would be most of all spans.
  if (!span_name_.empty() || (!trace_.parent_span_id.empty() && edge_->telemetry->wants(trace_))) ExportRequest(record);
}

void RequestScope::ExportRequest(const RequestRecord& record) {
  const bool is_http = record.protocol == "http";
  const std::string other_name = is_http ? record.method : record.path;  // of few values, whatever clients send
  Span span = PartOf(span_name_.empty() ? other_name : span_name_, record.begin, record.begin + record.duration);
  span.span_id = trace_.span_id;
  span.parent_span_id = trace_.parent_span_id;
  span.is_server = true;
  span.attributes = std::move(attributes_);
  const auto add = [&span](const char* name, auto value) { span.attributes.push_back({name, std::move(value)}); };
  if (is_http) {
    add("http.request.method", record.method);
    add("url.path", record.path);
    add("http.response.status_code", int64_t{record.status});
  } else {
    add("rpc.system", std::string("grpc"));
    add("rpc.method", record.path);
    add("rpc.grpc.status_code", int64_t{record.status});
  }
  add("client.address", record.client);
  add("switchyard.request.id", record.request_id);
  if (!record.key.empty()) add("switchyard.key.name", record.key);
  if (record.completion_tokens.has_value()) add("gen_ai.usage.output_tokens", *record.completion_tokens);
  std::vector<std::string> reasons;
  for (const Choice& choice : choices_) {
    if (choice.finish.has_value()) reasons.emplace_back(Name(*choice.finish));
  }
  if (!reasons.empty()) add("gen_ai.response.finish_reasons", std::move(reasons));
  if (is_http ? record.status >= 500 : record.status != 0) {
    add("error.type", absl::StrCat(record.status));
    span.error = absl::StrCat("status ", record.status);
  } else if (!record.complete) {
    span.error = "the client did not take the whole answer";
  }
  edge_->telemetry->Export(std::move(span));
}

}  // namespace switchyard
