// Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/answer.h"
#include "server/http/message.h"

namespace switchyard::openai {

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;                // the field; empty: null
  std::string code;                 // empty: null
  int64_t retry_after_seconds = 1;  // of 429 and 503
};

// 400 for a field: `message` names its value, the limit and the remedy.
ApiError FieldError(std::string param, std::string message);
// INVALID_ARGUMENT 400, UNAUTHENTICATED 401, NOT_FOUND 404, RESOURCE_EXHAUSTED 429, UNAVAILABLE and ABORTED 503,
// DEADLINE_EXCEEDED 504, UNIMPLEMENTED 400, all else 500.
ApiError FromStatus(const absl::Status& status);

std::string ErrorJson(const ApiError& error);
// With Retry-After for 429 and 503, WWW-Authenticate for 401.
http::Response ErrorResponse(const ApiError& error);
std::unique_ptr<http::Answer> ErrorAnswer(const ApiError& error);
// For the http folder's own errors.
std::string HttpErrorBody(int status, std::string_view message);

}  // namespace switchyard::openai
