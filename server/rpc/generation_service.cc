#include "server/rpc/generation_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/call_scope.h"
#include "server/rpc/prompt_codec.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/response_writer.h"

namespace switchyard {
namespace {

absl::Status Tokenize(const v1::TokenizeRequest& request, const Engine& engine, v1::TokenizeResponse* response) {
  absl::StatusOr<std::vector<int32_t>> ids =
      absl::InvalidArgumentError("`input` is missing: set one of `text` and `chat`");
  if (request.has_text()) {
    ids = EncodeText(request.text(), !request.has_add_special_tokens() || request.add_special_tokens(), engine);
  } else if (request.has_chat()) {
    ids = EncodeChat(request.chat(), engine);
  }
  if (!ids.ok()) return ids.status();
  response->mutable_token_ids()->Assign(ids->begin(), ids->end());
  return absl::OkStatus();
}

absl::Status Detokenize(const v1::DetokenizeRequest& request, const Engine& engine, v1::DetokenizeResponse* response) {
  if (engine.tokenizer() == nullptr) return absl::UnimplementedError("this model has no tokenizer");
  const int64_t vocab_size = engine.tokenizer()->vocab_size();
  for (int i = 0; i < request.token_ids_size(); ++i) {
    if (request.token_ids(i) >= 0 && request.token_ids(i) < vocab_size) continue;
    return absl::InvalidArgumentError(absl::StrCat("token_ids[", i, "] is ", request.token_ids(i),
                                                   ", outside the vocabulary of ", vocab_size, " ids"));
  }
  const bool skip_special_tokens = !request.has_skip_special_tokens() || request.skip_special_tokens();
  const std::vector<int32_t> ids(request.token_ids().begin(), request.token_ids().end());
  response->set_text(engine.tokenizer()->Decode(ids, skip_special_tokens));
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* GenerationService::Answer(grpc::CallbackServerContext* context, const char* method,
                                                    const std::function<absl::Status()>& respond) const {
  CallScope scope(edge_, *context, method);
  const absl::Status status = scope.authorization().ok() ? respond() : scope.authorization();
  scope.End(status, /*request_id=*/"");
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

absl::StatusOr<Engine*> GenerationService::LoadedEngine() const {
  Engine* engine = slot_.snapshot().engine;
  if (engine != nullptr) return engine;
  return slot_.Admit();  // says why there is none
}

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                                            const v1::GenerateRequest* request) {
  v1::GenerateRequest message = *request;
  if (message.request_id().empty()) message.set_request_id(request_ids_.Next());
  return StartGenerate(context, message, slot_, edge_, limits_);
}

grpc::ServerBidiReactor<v1::GenerateRequest, v1::GenerateResponse>* GenerationService::GenerateBatch(
    grpc::CallbackServerContext* context) {
  return StartGenerateBatch(context, slot_, edge_, limits_);
}

grpc::ServerUnaryReactor* GenerationService::Abort(grpc::CallbackServerContext* context,
                                                   const v1::AbortRequest* request, v1::AbortResponse* response) {
  return Answer(context, "Abort", [&]() -> absl::Status {
    if (request->request_id().empty()) {
      return absl::InvalidArgumentError("`request_id` is empty: name the request to end");
    }
    absl::StatusOr<Engine*> engine = LoadedEngine();
    if (engine.ok()) (*engine)->Abort(request->request_id());
    return engine.status();
  });
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* context,
                                                      const v1::TokenizeRequest* request,
                                                      v1::TokenizeResponse* response) {
  return Answer(context, "Tokenize", [&]() -> absl::Status {
    absl::StatusOr<Engine*> engine = LoadedEngine();
    return engine.ok() ? switchyard::Tokenize(*request, **engine, response) : engine.status();
  });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* context,
                                                        const v1::DetokenizeRequest* request,
                                                        v1::DetokenizeResponse* response) {
  return Answer(context, "Detokenize", [&]() -> absl::Status {
    absl::StatusOr<Engine*> engine = LoadedEngine();
    return engine.ok() ? switchyard::Detokenize(*request, **engine, response) : engine.status();
  });
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetModelInfoRequest* request,
                                                          v1::GetModelInfoResponse* response) {
  return Answer(context, "GetModelInfo", [&]() -> absl::Status {
    absl::StatusOr<Engine*> engine = LoadedEngine();
    if (engine.ok()) *response = ToModelInfo(**engine, slot_.served_model_name());
    return engine.status();
  });
}

grpc::ServerUnaryReactor* GenerationService::GetLoad(grpc::CallbackServerContext* context,
                                                     const v1::GetLoadRequest* request, v1::GetLoadResponse* response) {
  return Answer(context, "GetLoad", [&]() -> absl::Status {
    absl::StatusOr<Engine*> engine = LoadedEngine();
    if (engine.ok()) *response = ToLoad((*engine)->Stats());
    return engine.status();
  });
}

grpc::ServerUnaryReactor* GenerationService::GetExpertLoad(grpc::CallbackServerContext* context,
                                                           const v1::GetExpertLoadRequest* request,
                                                           v1::GetExpertLoadResponse* response) {
  return Answer(context, "GetExpertLoad", [&]() -> absl::Status {
    absl::StatusOr<Engine*> engine = LoadedEngine();
    if (engine.ok()) *response = ToExpertLoad((*engine)->Stats());
    return engine.status();
  });
}

}  // namespace switchyard
