#include "server/openai/errors.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/retry_after.h"

namespace switchyard::openai {
namespace {

const char* TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

}  // namespace

ApiError FieldError(std::string param, std::string message) {
  return {.status = 400, .message = std::move(message), .param = std::move(param), .code = "invalid_value"};
}

ApiError FromStatus(const absl::Status& status) {
  ApiError error{.status = HttpStatusOf(status.code()), .message = std::string(status.message())};
  if (error.status == 429) error.code = "queue_full";
  if (error.status == 503) error.code = "unavailable";
  error.retry_after_seconds = RetryAfterSeconds(status).value_or(error.retry_after_seconds);
  return error;
}

std::string ErrorJson(const ApiError& error) {
  nlohmann::ordered_json inner = {
      {"message", error.message}, {"type", TypeOf(error.status)}, {"param", nullptr}, {"code", nullptr}};
  if (!error.param.empty()) inner["param"] = error.param;
  if (!error.code.empty()) inner["code"] = error.code;
  // Messages quote what clients sent.
  return nlohmann::ordered_json({{"error", std::move(inner)}})
      .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

http::Response ErrorResponse(const ApiError& error) {
  http::Response response{.status = error.status, .body = ErrorJson(error)};
  if (error.status == 429 || error.status == 503) {
    response.headers.push_back({"Retry-After", absl::StrCat(error.retry_after_seconds)});
  }
  if (error.status == 401) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  return response;
}

std::unique_ptr<http::Answer> ErrorAnswer(const ApiError& error) {
  return std::make_unique<http::ReadyAnswer>(ErrorResponse(error));
}

std::string HttpErrorBody(int status, std::string_view message) {
  return ErrorJson({.status = status, .message = std::string(message)});
}

}  // namespace switchyard::openai
