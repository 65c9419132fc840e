#include "server/openai/api.h"

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/auth.h"
#include "server/http/router.h"
#include "server/openai/chat.h"
#include "server/openai/chat_format.h"
#include "server/openai/completion_format.h"
#include "server/openai/completions.h"
#include "server/openai/errors.h"
#include "server/openai/generation.h"
#include "server/openai/json_text.h"
#include "server/openai/models.h"
#include "server/openai/probes.h"
#include "server/openai/tokenization.h"
#include "spdlog/spdlog.h"

namespace switchyard::openai {
namespace {

using http::Answer;
using http::Request;
using http::Response;
using http::Waker;

using Parse = std::optional<ApiError> (*)(const std::string& text, const nlohmann::json& body,
                                          const ModelContext& model, const std::string& fallback_id,
                                          GenerationPlan* plan);

// The routes with all that they share. Thread safety: any thread.
class Api {
 public:
  Api(const ApiConfig& config, EngineSlot* slot)
      : limits_(config.limits),
        slot_(slot),
        authorizer_(config.api_keys),
        exporter_(slot, config.metrics),
        router_(HttpErrorBody) {
    AddRoutes();
  }

  std::unique_ptr<Answer> Handle(const Request& request, Waker waker) {
    if (request.path != "/health" && !authorizer_.Allows(request.header("authorization"))) {
      return ErrorAnswer({.status = 401,
                          .message = "the API key is missing or wrong; send the header \"Authorization: Bearer KEY\"",
                          .code = "invalid_api_key"});
    }
    return router_.Dispatch(request, std::move(waker));
  }

 private:
  void AddRoutes();
  void AddGet(const std::string& path, std::function<Response(const Request&)> respond);
  // With a parsed body and a loaded model.
  void AddPost(const std::string& path, Response (*respond)(const nlohmann::json&, const ModelContext&));
  void AddGeneration(const std::string& path, Parse parse, FormatFactory make_format);
  // The fault that became the answer, or null with `model` (and `body`) filled.
  std::optional<ApiError> Prepare(const Request& request, nlohmann::json* body, ModelContext* model) const;
  void LogWithoutEffect(const Request& request, const GenerationPlan& plan) const;

  // constant after construction
  const Limits limits_;
  EngineSlot* const slot_;  // borrowed
  const Authorizer authorizer_;
  const MetricsExporter exporter_;
  http::Router router_;

  std::atomic<uint64_t> next_serial_ = 0;
};

void Api::AddRoutes() {
  AddGet("/health", [this](const Request&) { return Health(*slot_); });
  AddGet("/ready", [this](const Request&) { return Ready(*slot_); });
  AddGet("/version", [](const Request&) { return Version(); });
  AddGet("/metrics", [this](const Request&) {
    return Response{.content_type = MetricsExporter::ContentType(), .body = exporter_.Render()};
  });
  AddGet("/v1/models", [this](const Request&) { return ListModels(*slot_); });
  AddGet("/v1/models/", [this](const Request& request) {
    constexpr size_t kPrefix = std::string_view("/v1/models/").size();
    return RetrieveModel(*slot_, http::PercentDecode(request.path.substr(kPrefix)));
  });
  AddGet("/tokenizer_info", [this](const Request&) {
    absl::StatusOr<Engine*> engine = slot_->Admit();
    if (!engine.ok()) return ErrorResponse(FromStatus(engine.status()));
    return TokenizerInfo({.engine = *engine, .served_name = &slot_->served_model_name(), .limits = &limits_});
  });
  AddPost("/tokenize", Tokenize);
  AddPost("/detokenize", Detokenize);
  AddGeneration(
      "/v1/completions",
      [](const std::string&, const nlohmann::json& body, const ModelContext& model, const std::string& fallback_id,
         GenerationPlan* plan) { return ParseCompletion(body, model, fallback_id, plan); },
      [](const GenerationPlan* plan, const Tokenizer* tokenizer) -> std::unique_ptr<ResponseFormat> {
        return std::make_unique<CompletionFormat>(plan, tokenizer);
      });
  AddGeneration("/v1/chat/completions", ParseChat,
                [](const GenerationPlan* plan, const Tokenizer* tokenizer) -> std::unique_ptr<ResponseFormat> {
                  return std::make_unique<ChatFormat>(plan, tokenizer);
                });
}

void Api::AddGet(const std::string& path, std::function<Response(const Request&)> respond) {
  router_.Add("GET", path, [respond = std::move(respond)](const Request& request, const Waker&) {
    return std::make_unique<http::ReadyAnswer>(respond(request));
  });
}

void Api::AddPost(const std::string& path, Response (*respond)(const nlohmann::json&, const ModelContext&)) {
  router_.Add("POST", path, [this, respond](const Request& request, const Waker&) -> std::unique_ptr<Answer> {
    nlohmann::json body;
    ModelContext model;
    if (const std::optional<ApiError> fault = Prepare(request, &body, &model)) return ErrorAnswer(*fault);
    return std::make_unique<http::ReadyAnswer>(respond(body, model));
  });
}

void Api::AddGeneration(const std::string& path, Parse parse, FormatFactory make_format) {
  router_.Add("POST", path, [=, this](const Request& request, Waker waker) -> std::unique_ptr<Answer> {
    nlohmann::json body;
    GenerationStart start{.make_format = make_format, .waker = std::move(waker), .serial = next_serial_++};
    if (const std::optional<ApiError> fault = Prepare(request, &body, &start.model)) return ErrorAnswer(*fault);
    if (const std::optional<ApiError> fault = parse(request.body, body, start.model, request.id, &start.plan)) {
      return ErrorAnswer(*fault);
    }
    LogWithoutEffect(request, start.plan);
    return StartGeneration(std::move(start));
  });
}

std::optional<ApiError> Api::Prepare(const Request& request, nlohmann::json* body, ModelContext* model) const {
  absl::StatusOr<Engine*> engine = slot_->Admit();
  if (!engine.ok()) return FromStatus(engine.status());
  *model = {.engine = *engine, .served_name = &slot_->served_model_name(), .limits = &limits_};
  return ParseJsonObject(request.body, body);
}

void Api::LogWithoutEffect(const Request& request, const GenerationPlan& plan) const {
  if (plan.without_effect.empty()) return;
  // Names come from the client: few, short and escaped.
  constexpr size_t kMaxNames = 16;
  constexpr size_t kMaxNameLength = 48;
  std::vector<std::string> names;
  for (const std::string& name : plan.without_effect) {
    if (names.size() == kMaxNames) break;
    names.push_back(absl::CEscape(name.substr(0, kMaxNameLength)));
  }
  spdlog::info("request {}: {} fields of {} have no effect: {}{}", request.id, plan.without_effect.size(), request.path,
               absl::StrJoin(names, ", "), plan.without_effect.size() > kMaxNames ? ", …" : "");
}

}  // namespace

absl::StatusOr<std::unique_ptr<http::Server>> StartServer(const ApiConfig& config, EngineSlot* slot) {
  auto api = std::make_shared<Api>(config, slot);
  return http::Server::Start(
      config.http, [api](const Request& request, Waker waker) { return api->Handle(request, std::move(waker)); },
      HttpErrorBody);
}

}  // namespace switchyard::openai
