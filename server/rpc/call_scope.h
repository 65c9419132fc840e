// One gRPC call, or one request of a batch: its key, and what is recorded of it.
#pragma once

#include <grpcpp/server_context.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/edge.h"
#include "server/request_scope.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

// Thread safety: as RequestScope's.
class CallScope {
 public:
  // `method`: "Generate". `context` is looked at here, `edge` is borrowed.
  CallScope(Edge* edge, const grpc::CallbackServerContext& context, const std::string& method);

  // UNAUTHENTICATED, with the remedy, unless the call's metadata bring a key or there are none.
  const absl::Status& authorization() const { return authorization_; }
  // As RequestScope::Admit.
  absl::Status Admit(const v1::GenerateRequest& message, const GenerationRequest& request, const std::string& model);
  // With every update of the engine's.
  void OnUpdate(const RequestUpdate& update) { scope_.OnUpdate(0, update); }

  // Writes the access log and the trace. Once.
  void End(const absl::Status& status, const std::string& request_id);

 private:
  // constant after construction
  const absl::Time begin_;
  const std::string path_;
  const std::string client_;
  absl::Status authorization_;

  RequestScope scope_;
};

// Why a call that was cancelled ends: DEADLINE_EXCEEDED where its deadline has passed, else CANCELLED.
absl::Status CancellationStatus(const grpc::CallbackServerContext& context);

}  // namespace switchyard
