#include "server/openai/api.h"

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/http/router.h"
#include "server/openai/chat_format.h"
#include "server/openai/completion_format.h"
#include "server/openai/errors.h"
#include "server/openai/experts.h"
#include "server/openai/generation.h"
#include "server/openai/json_text.h"
#include "server/openai/models.h"
#include "server/openai/probes.h"
#include "server/openai/recorded_answer.h"
#include "server/openai/request_plan.h"
#include "server/openai/tokenization.h"
#include "server/playground/playground.h"
#include "server/request_scope.h"
#include "spdlog/spdlog.h"

namespace switchyard::openai {
namespace {

using http::Answer;
using http::Request;
using http::Response;
using http::Waker;

GenerationFacts FactsOf(const GenerationStart& start, const char* operation) {
  GenerationFacts facts{.operation = operation,
                        .model = *start.model.served_name,
                        .response_id = start.plan.response_id,
                        .request = &start.plan.request,
                        .num_choices = static_cast<int64_t>(start.plan.prompts.size()) * start.plan.candidates};
  for (const Prompt& prompt : start.plan.prompts) facts.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
  return facts;
}

// The routes with all that they share. Thread safety: any thread.
class Api {
 public:
  Api(const ApiConfig& config, EngineSlot* slot, Edge* edge)
      : limits_(config.limits),
        slot_(slot),
        edge_(edge),
        exporter_(slot, config.metrics, edge),
        router_(HttpErrorBody) {
    AddRoutes();
  }

  std::unique_ptr<Answer> Handle(Request& request, Waker waker) {
    const std::string_view traceparent = request.header("traceparent");
    request.scope = std::make_shared<RequestScope>(edge_, absl::string_view(traceparent.data(), traceparent.size()));
    return std::make_unique<RecordedAnswer>(Answered(request, std::move(waker)), request.scope);
  }

 private:
  std::unique_ptr<Answer> Answered(const Request& request, Waker waker);
  void AddRoutes();
  void AddGet(const std::string& path, std::function<Response(const Request&)> respond);
  // With a parsed body and a loaded model.
  void AddPost(const std::string& path, Response (*respond)(const nlohmann::json&, const ModelContext&));
  // `operation`: as OpenTelemetry names it.
  void AddGeneration(const std::string& path, const char* operation, Endpoint endpoint, FormatFactory make_format);
  // What a new request is checked against; UNAVAILABLE as EngineSlot::Admit.
  absl::StatusOr<ModelContext> Model() const;
  void LogWithoutEffect(const Request& request, const GenerationPlan& plan) const;

  // constant after construction
  const Limits limits_;
  EngineSlot* const slot_;  // borrowed
  Edge* const edge_;        // borrowed
  const MetricsExporter exporter_;
  http::Router router_;

  std::atomic<uint64_t> next_serial_ = 0;
};

std::unique_ptr<Answer> Api::Answered(const Request& request, Waker waker) {
  const std::string_view authorization = request.header("authorization");
  const bool allowed = request.scope->Authorize(absl::string_view(authorization.data(), authorization.size()));
  const bool is_open = request.path == "/health" || request.path == "/";
  if (allowed || is_open) return router_.Dispatch(request, std::move(waker));
  return ErrorAnswer({.status = 401,
                      .message = "the API key is missing or wrong; send the header \"Authorization: Bearer KEY\"",
                      .code = "invalid_api_key"});
}

void Api::AddRoutes() {
  AddGet("/", [](const Request&) { return PlaygroundPage(); });
  AddGet("/health", [this](const Request&) { return Health(*slot_); });
  AddGet("/ready", [this](const Request&) { return Ready(*slot_); });
  AddGet("/version", [](const Request&) { return Version(); });
  AddGet("/metrics", [this](const Request&) {
    return Response{.content_type = MetricsExporter::ContentType(), .body = exporter_.Render()};
  });
  AddGet("/v1/experts", [this](const Request&) { return ExpertStatistics(*slot_); });
  AddGet("/v1/models", [this](const Request&) { return ListModels(*slot_); });
  AddGet("/v1/models/", [this](const Request& request) {
    constexpr size_t kPrefix = std::string_view("/v1/models/").size();
    return RetrieveModel(*slot_, http::PercentDecode(request.path.substr(kPrefix)));
  });
  AddGet("/tokenizer_info", [this](const Request&) {
    const absl::StatusOr<ModelContext> model = Model();
    return model.ok() ? TokenizerInfo(*model) : ErrorResponse(FromStatus(model.status()));
  });
  AddPost("/tokenize", Tokenize);
  AddPost("/detokenize", Detokenize);
  AddGeneration("/v1/completions", "text_completion", Endpoint::kCompletions,
                [](const GenerationPlan* plan, const Tokenizer* tokenizer) -> std::unique_ptr<ResponseFormat> {
                  return std::make_unique<CompletionFormat>(plan, tokenizer);
                });
  AddGeneration("/v1/chat/completions", "chat", Endpoint::kChat,
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
    const absl::StatusOr<ModelContext> model = Model();
    if (!model.ok()) return ErrorAnswer(FromStatus(model.status()));
    nlohmann::json body;
    if (const std::optional<ApiError> fault = ParseJsonObject(request.body, &body)) return ErrorAnswer(*fault);
    return std::make_unique<http::ReadyAnswer>(respond(body, *model));
  });
}

void Api::AddGeneration(const std::string& path, const char* operation, Endpoint endpoint, FormatFactory make_format) {
  router_.Add("POST", path, [=, this](const Request& request, Waker waker) -> std::unique_ptr<Answer> {
    const absl::StatusOr<ModelContext> model = Model();
    if (!model.ok()) return ErrorAnswer(FromStatus(model.status()));
    GenerationStart start{
        .model = *model, .make_format = make_format, .waker = std::move(waker), .serial = next_serial_++};
    if (const std::optional<ApiError> fault = ReadPlan(endpoint, request.body, *model, request.id, &start.plan)) {
      return ErrorAnswer(*fault);
    }
    LogWithoutEffect(request, start.plan);
    if (const absl::Status over = request.scope->Admit(FactsOf(start, operation)); !over.ok()) {
      ApiError error = FromStatus(over);
      error.code = "rate_limit_exceeded";  // of this client, not of all
      return ErrorAnswer(error);
    }
    start.scope = request.scope;
    return StartGeneration(std::move(start));
  });
}

absl::StatusOr<ModelContext> Api::Model() const {
  absl::StatusOr<Engine*> engine = slot_->Admit();
  if (!engine.ok()) return engine.status();
  return ModelContext{.engine = *engine, .served_name = &slot_->served_model_name(), .limits = &limits_};
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

absl::StatusOr<std::unique_ptr<http::Server>> StartServer(const ApiConfig& config, EngineSlot* slot, Edge* edge) {
  auto api = std::make_shared<Api>(config, slot, edge);
  return http::Server::Start(
      config.http, [api](Request& request, Waker waker) { return api->Handle(request, std::move(waker)); },
      HttpErrorBody, [edge](const http::Report& report) { edge->telemetry->Log(RecordOf(report)); });
}

}  // namespace switchyard::openai
