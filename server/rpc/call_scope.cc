#include "server/rpc/call_scope.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace switchyard {
namespace {

absl::string_view ViewOf(const grpc::string_ref& text) { return absl::string_view(text.data(), text.size()); }

absl::string_view MetadataOf(const grpc::CallbackServerContext& context, const char* name) {
  const auto found = context.client_metadata().find(name);
  return found == context.client_metadata().end() ? absl::string_view() : ViewOf(found->second);
}

// "127.0.0.1:4711", "unix"; gRPC writes "ipv4:127.0.0.1:4711", "unix:/path".
std::string ClientOf(const grpc::CallbackServerContext& context) {
  const std::string peer = context.peer();
  absl::string_view rest = peer;
  if (absl::ConsumePrefix(&rest, "unix:")) return "unix";
  if (!absl::ConsumePrefix(&rest, "ipv4:")) absl::ConsumePrefix(&rest, "ipv6:");
  return std::string(rest);
}

absl::Status Authorize(const grpc::CallbackServerContext& context, RequestScope& scope) {
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  if (scope.Authorize("")) return absl::OkStatus();  // no keys
  for (auto entry = first; entry != last; ++entry) {
    if (scope.Authorize(ViewOf(entry->second))) return absl::OkStatus();
  }
  return absl::UnauthenticatedError(first == last
                                        ? "no API key: send the metadata `authorization: Bearer <key>`"
                                        : "the API key in the metadata `authorization` is not one of this server's");
}

}  // namespace

CallScope::CallScope(Edge* edge, const grpc::CallbackServerContext& context, const std::string& method)
    : begin_(absl::Now()),
      path_(absl::StrCat("/switchyard.v1.Generation/", method)),
      client_(ClientOf(context)),
      scope_(edge, MetadataOf(context, "traceparent")) {
  authorization_ = Authorize(context, scope_);
}

absl::Status CallScope::Admit(const v1::GenerateRequest& message, const GenerationRequest& request,
                              const std::string& model) {
  return scope_.Admit({.operation = message.has_chat() ? "chat" : "text_completion",
                       .model = model,
                       .response_id = request.id,
                       .request = &request,
                       .prompt_tokens = static_cast<int64_t>(request.prompt.size())});
}

void CallScope::End(const absl::Status& status, const std::string& request_id) {
  scope_.End({.begin = begin_,
              .protocol = "grpc",
              .path = path_,
              .status = status.raw_code(),
              .complete = status.ok(),
              .duration = absl::Now() - begin_,
              .request_id = request_id,
              .client = client_});
}

absl::Status CancellationStatus(const grpc::CallbackServerContext& context) {
  if (context.deadline() <= std::chrono::system_clock::now()) {
    return absl::DeadlineExceededError("the call's deadline passed before the generation ended");
  }
  return absl::CancelledError("the client cancelled the call");
}

}  // namespace switchyard
