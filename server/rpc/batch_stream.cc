// GenerateBatch: requests as they come, and the responses of all of them.
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/call_scope.h"
#include "server/rpc/generation_streams.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/response_writer.h"

namespace switchyard {
namespace {

using BidiReactor = grpc::ServerBidiReactor<v1::GenerateRequest, v1::GenerateResponse>;

class BatchStream final : public ResponseWriter<BidiReactor>, public std::enable_shared_from_this<BatchStream> {
 public:
  BatchStream(grpc::CallbackServerContext* context, const EngineSlot& slot, Edge* edge, const StreamLimits& limits)
      : ResponseWriter(limits.max_pending_bytes), limits_(limits), context_(context), slot_(slot), edge_(edge) {}

  BidiReactor* Start() {
    self_ = shared_from_this();
    CallScope scope(edge_, *context_, kMethod);
    if (const absl::Status& refused = scope.authorization(); !refused.ok()) {
      scope.End(refused, /*request_id=*/"");
      Fail(refused);
      return this;
    }
    StartRead(&incoming_);
    return this;
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        absl::MutexLock lock(&requests_mu_);
        all_read_ = true;
      }
      CloseIfDone();
      return;
    }
    const std::string id = incoming_.request_id();
    const auto scope = std::make_shared<CallScope>(edge_, *context_, kMethod);
    const absl::Status status = Submit(incoming_, scope);
    if (!status.ok()) {
      scope->End(status, id);
      if (!PushEnd(id, {}, status)) AbortAll();
    }
    {
      absl::MutexLock lock(&requests_mu_);
      if (cancelled_) return;
      if (num_unfinished_ >= limits_.max_batch_requests) {
        paused_ = true;
        return;
      }
    }
    StartRead(&incoming_);
  }

  void OnCancel() override {
    const absl::Status status = CancellationStatus(*context_);
    AbortAll();
    Fail(status);
  }

  void OnDone() override { self_.reset(); }

 private:
  static constexpr char kMethod[] = "GenerateBatch";

  absl::Status Submit(const v1::GenerateRequest& message, const std::shared_ptr<CallScope>& scope) {
    if (!scope->authorization().ok()) return scope->authorization();  // the key was withdrawn since
    const std::string& id = message.request_id();
    if (id.empty()) return absl::InvalidArgumentError("`request_id` is empty: GenerateBatch needs one per request");
    absl::StatusOr<Engine*> engine = slot_.Admit();
    if (!engine.ok()) return engine.status();
    {
      absl::MutexLock lock(&requests_mu_);
      if (in_flight_.contains(id)) {
        return absl::AlreadyExistsError(
            absl::StrCat("`request_id` \"", id, "\" is in flight on this stream; each request needs its own"));
      }
    }
    absl::StatusOr<GenerationRequest> request = ToEngineRequest(message, **engine, slot_.served_model_name());
    if (!request.ok()) return request.status();
    if (absl::Status over = scope->Admit(message, *request, slot_.served_model_name()); !over.ok()) return over;
    request->deadline = absl::FromChrono(context_->deadline());
    {
      absl::MutexLock lock(&requests_mu_);
      engine_ = *engine;
      in_flight_.insert(id);
      ++num_unfinished_;
    }
    const bool with_logprobs = request->num_logprobs >= 0;
    const absl::Status status = (*engine)->Submit(
        *std::move(request), [self = shared_from_this(), scope, id, with_logprobs](const RequestUpdate& update) {
          scope->OnUpdate(update);
          if (update.finish.has_value()) scope->End(EndStatus(id, update), id);
          self->OnUpdate(id, update, with_logprobs);
        });
    bool cancelled;
    {
      absl::MutexLock lock(&requests_mu_);
      if (!status.ok()) {
        in_flight_.erase(id);
        --num_unfinished_;
      }
      cancelled = cancelled_;
    }
    if (status.ok() && cancelled) (*engine)->Abort(id);
    return status;
  }

  void OnUpdate(const std::string& id, const RequestUpdate& update, bool with_logprobs) {
    v1::GenerateResponse response = ToResponse(id, update, with_logprobs);
    if (!update.finish.has_value()) {
      if (!Push(std::move(response))) AbortAll();
      return;
    }
    {
      absl::MutexLock lock(&requests_mu_);
      in_flight_.erase(id);  // before the client can know of the end and use the id again
    }
    if (!PushEnd(id, std::move(response), EndStatus(id, update))) AbortAll();
    bool resume;
    {
      absl::MutexLock lock(&requests_mu_);
      --num_unfinished_;
      resume = std::exchange(paused_, false) && !cancelled_;
    }
    if (resume) StartRead(&incoming_);
    CloseIfDone();
  }

  bool PushEnd(const std::string& id, v1::GenerateResponse response, const absl::Status& status) {
    response.set_request_id(id);
    response.mutable_status()->set_code(status.raw_code());
    response.mutable_status()->set_message(std::string(status.message()));
    return Push(std::move(response));
  }

  void CloseIfDone() {
    {
      absl::MutexLock lock(&requests_mu_);
      if (!all_read_ || num_unfinished_ > 0) return;
    }
    Close(absl::OkStatus());
  }

  void AbortAll() {
    Engine* engine;
    std::vector<std::string> ids;
    {
      absl::MutexLock lock(&requests_mu_);
      cancelled_ = true;
      engine = engine_;
      ids.assign(in_flight_.begin(), in_flight_.end());
    }
    for (const std::string& id : ids) engine->Abort(id);
  }

  // constant after construction
  const StreamLimits limits_;
  grpc::CallbackServerContext* const context_;
  const EngineSlot& slot_;
  Edge* const edge_;

  std::shared_ptr<BatchStream> self_;  // until OnDone
  v1::GenerateRequest incoming_;       // gRPC's between StartRead and OnReadDone

  absl::Mutex requests_mu_;
  Engine* engine_ ABSL_GUARDED_BY(requests_mu_) = nullptr;         // set before the first of in_flight_
  std::set<std::string> in_flight_ ABSL_GUARDED_BY(requests_mu_);  // also those being submitted
  size_t num_unfinished_ ABSL_GUARDED_BY(requests_mu_) = 0;        // in flight, or their last response not yet pushed
  bool paused_ ABSL_GUARDED_BY(requests_mu_) = false;              // no read is under way: the stream is full
  bool all_read_ ABSL_GUARDED_BY(requests_mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(requests_mu_) = false;
};

}  // namespace

BidiReactor* StartGenerateBatch(grpc::CallbackServerContext* context, const EngineSlot& slot, Edge* edge,
                                const StreamLimits& limits) {
  return std::make_shared<BatchStream>(context, slot, edge, limits)->Start();
}

}  // namespace switchyard
