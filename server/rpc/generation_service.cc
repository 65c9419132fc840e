#include "server/rpc/generation_service.h"

#include <string_view>
#include <utility>

#include "server/rpc/request_codec.h"
#include "server/rpc/response_writer.h"

namespace switchyard {
namespace {

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, grpc::Status status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(std::move(status));
  return reactor;
}

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

grpc::Status GenerationService::Authorize(const grpc::CallbackServerContext& context) const {
  if (!authorizer_.required()) return grpc::Status::OK;
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  for (auto entry = first; entry != last; ++entry) {
    if (authorizer_.Allows(std::string_view(entry->second.data(), entry->second.size()))) return grpc::Status::OK;
  }
  return grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                      first == last ? "no API key: send the metadata `authorization: Bearer <key>`"
                                    : "the API key in the metadata `authorization` is not one of this server's");
}

absl::StatusOr<Engine*> GenerationService::LoadedEngine() const {
  Engine* engine = slot_.snapshot().engine;
  if (engine != nullptr) return engine;
  return slot_.Admit();  // says why there is none
}

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                                            const v1::GenerateRequest* request) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return RefuseGenerate(std::move(status));
  v1::GenerateRequest message = *request;
  if (message.request_id().empty()) message.set_request_id(request_ids_.Next());
  return StartGenerate(context, message, slot_, limits_);
}

grpc::ServerBidiReactor<v1::GenerateRequest, v1::GenerateResponse>* GenerationService::GenerateBatch(
    grpc::CallbackServerContext* context) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return RefuseGenerateBatch(std::move(status));
  return StartGenerateBatch(context, slot_, limits_);
}

grpc::ServerUnaryReactor* GenerationService::Abort(grpc::CallbackServerContext* context,
                                                   const v1::AbortRequest* request, v1::AbortResponse* response) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return Answer(context, std::move(status));
  if (request->request_id().empty()) {
    return Answer(context, {grpc::StatusCode::INVALID_ARGUMENT, "`request_id` is empty: name the request to end"});
  }
  absl::StatusOr<Engine*> engine = LoadedEngine();
  if (engine.ok()) (*engine)->Abort(request->request_id());
  return Answer(context, ToGrpcStatus(engine.status()));
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* context,
                                                      const v1::TokenizeRequest* request,
                                                      v1::TokenizeResponse* response) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return Answer(context, std::move(status));
  absl::StatusOr<Engine*> engine = LoadedEngine();
  if (!engine.ok()) return Answer(context, ToGrpcStatus(engine.status()));
  return Answer(context, ToGrpcStatus(switchyard::Tokenize(*request, **engine, response)));
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* context,
                                                        const v1::DetokenizeRequest* request,
                                                        v1::DetokenizeResponse* response) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return Answer(context, std::move(status));
  absl::StatusOr<Engine*> engine = LoadedEngine();
  if (!engine.ok()) return Answer(context, ToGrpcStatus(engine.status()));
  return Answer(context, ToGrpcStatus(switchyard::Detokenize(*request, **engine, response)));
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetModelInfoRequest* request,
                                                          v1::GetModelInfoResponse* response) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return Answer(context, std::move(status));
  absl::StatusOr<Engine*> engine = LoadedEngine();
  if (engine.ok()) *response = ToModelInfo(**engine, slot_.served_model_name());
  return Answer(context, ToGrpcStatus(engine.status()));
}

grpc::ServerUnaryReactor* GenerationService::GetLoad(grpc::CallbackServerContext* context,
                                                     const v1::GetLoadRequest* request, v1::GetLoadResponse* response) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return Answer(context, std::move(status));
  absl::StatusOr<Engine*> engine = LoadedEngine();
  if (engine.ok()) *response = ToLoad((*engine)->Stats());
  return Answer(context, ToGrpcStatus(engine.status()));
}

grpc::ServerUnaryReactor* GenerationService::GetExpertLoad(grpc::CallbackServerContext* context,
                                                           const v1::GetExpertLoadRequest* request,
                                                           v1::GetExpertLoadResponse* response) {
  if (grpc::Status status = Authorize(*context); !status.ok()) return Answer(context, std::move(status));
  absl::StatusOr<Engine*> engine = LoadedEngine();
  if (engine.ok()) *response = ToExpertLoad((*engine)->Stats());
  return Answer(context, ToGrpcStatus(engine.status()));
}

}  // namespace switchyard
