// Generate: one request, and its responses.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/retry_after.h"
#include "server/rpc/call_scope.h"
#include "server/rpc/generation_streams.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/response_writer.h"

namespace switchyard {
namespace {

using WriteReactor = grpc::ServerWriteReactor<v1::GenerateResponse>;

class GenerateStream final : public ResponseWriter<WriteReactor>, public std::enable_shared_from_this<GenerateStream> {
 public:
  GenerateStream(grpc::CallbackServerContext* context, const EngineSlot& slot, Edge* edge, const StreamLimits& limits)
      : ResponseWriter(limits.max_pending_bytes), context_(context), slot_(slot), scope_(edge, *context, "Generate") {}

  WriteReactor* Start(const v1::GenerateRequest& message) {
    self_ = shared_from_this();
    asked_id_ = message.request_id();
    const absl::Status status = Submit(message);
    if (!status.ok()) Fail(status);
    return this;
  }

  void OnCancel() override {
    const absl::Status status = CancellationStatus(*context_);
    AbortRequest();
    Fail(status);
  }

  void OnDone() override {
    scope_.End(end_status(), asked_id_);
    self_.reset();
  }

 private:
  absl::Status Submit(const v1::GenerateRequest& message) {
    if (!scope_.authorization().ok()) return scope_.authorization();
    absl::StatusOr<Engine*> engine = slot_.Admit();
    if (!engine.ok()) return engine.status();
    absl::StatusOr<GenerationRequest> request = ToEngineRequest(message, **engine, slot_.served_model_name());
    if (!request.ok()) return request.status();
    if (absl::Status over = scope_.Admit(message, *request, slot_.served_model_name()); !over.ok()) return over;
    request->deadline = absl::FromChrono(context_->deadline());
    const std::string id = request->id;
    const bool with_logprobs = request->num_logprobs >= 0;
    const absl::Status status = (*engine)->Submit(*std::move(request), [self = shared_from_this(), engine = *engine, id,
                                                                        with_logprobs](const RequestUpdate& update) {
      if (!self->OnUpdate(id, update, with_logprobs)) engine->Abort(id);
    });
    if (!status.ok()) return status;
    bool cancelled;
    {
      absl::MutexLock lock(&request_mu_);
      engine_ = *engine;
      id_ = id;
      cancelled = cancelled_;
    }
    if (cancelled) (*engine)->Abort(id);
    return absl::OkStatus();
  }

  // False: the request goes on in the engine, and nothing more is wanted of it.
  bool OnUpdate(const std::string& id, const RequestUpdate& update, bool with_logprobs) {
    scope_.OnUpdate(update);
    const bool wanted = Push(ToResponse(id, update, with_logprobs));
    if (!update.finish.has_value()) return wanted;
    Close(EndStatus(id, update));
    return true;
  }

  void BeforeFinish(const absl::Status& status) override {
    const std::optional<int64_t> seconds = RetryAfterSeconds(status);
    if (seconds.has_value()) context_->AddTrailingMetadata("retry-after", absl::StrCat(*seconds));
  }

  void AbortRequest() {
    Engine* engine;
    std::string id;
    {
      absl::MutexLock lock(&request_mu_);
      cancelled_ = true;
      engine = engine_;
      id = id_;
    }
    if (engine != nullptr) engine->Abort(id);
  }

  // constant after construction
  grpc::CallbackServerContext* const context_;
  const EngineSlot& slot_;
  std::string asked_id_;

  CallScope scope_;
  std::shared_ptr<GenerateStream> self_;  // until OnDone

  absl::Mutex request_mu_;
  Engine* engine_ ABSL_GUARDED_BY(request_mu_) = nullptr;  // set once submitted
  std::string id_ ABSL_GUARDED_BY(request_mu_);
  bool cancelled_ ABSL_GUARDED_BY(request_mu_) = false;
};

}  // namespace

WriteReactor* StartGenerate(grpc::CallbackServerContext* context, const v1::GenerateRequest& message,
                            const EngineSlot& slot, Edge* edge, const StreamLimits& limits) {
  return std::make_shared<GenerateStream>(context, slot, edge, limits)->Start(message);
}

}  // namespace switchyard
