#include "server/http/answered_request.h"

#include <exception>
#include <utility>

#include "absl/time/clock.h"
#include "spdlog/spdlog.h"

namespace switchyard::http {

void AnsweredRequest::Begin(const Request& request) {
  failed_ = false;
  report_ = {
      .id = request.id, .client = request.client, .method = request.method, .path = request.path, .begin = absl::Now()};
}

void AnsweredRequest::Handle(Request& request, Waker waker) {
  if (std::optional<Response> preflight = context_.cors.Preflight(request)) {
    answer_ = std::make_unique<ReadyAnswer>(*std::move(preflight));
    return;
  }
  try {
    answer_ = context_.handler(request, std::move(waker));
  } catch (const std::exception& error) {
    spdlog::error("request {}: {} {} threw: {}", request.id, request.method, request.path, error.what());
    answer_ = nullptr;
  }
}

std::optional<Response> AnsweredRequest::Head() {
  try {
    if (answer_ != nullptr) return answer_->Head();
  } catch (const std::exception& error) {
    spdlog::error("request {}: the answer threw: {}", report_.id, error.what());
    answer_->Cancel();
  }
  failed_ = true;
  return Response{.status = 500, .body = context_.error(500, "internal error; the server's log has the details")};
}

bool AnsweredRequest::Read(std::string* piece) {
  try {
    return answer_->Read(piece);
  } catch (const std::exception& error) {
    spdlog::error("request {}: the stream threw: {}", report_.id, error.what());
    failed_ = true;
    return false;
  }
}

void AnsweredRequest::Cancel() {
  if (answer_ != nullptr) answer_->Cancel();
}

void AnsweredRequest::MarkFirstByte() {
  if (report_.bytes == 0) report_.time_to_first_byte = absl::Now() - report_.begin;
}

void AnsweredRequest::End(bool complete) {
  report_.complete = complete;
  report_.duration = absl::Now() - report_.begin;
  if (answer_ == nullptr) {
    if (context_.on_refused != nullptr) context_.on_refused(report_);
    return;
  }
  if (!complete) answer_->Cancel();
  answer_->OnEnd(report_);
  answer_.reset();
}

}  // namespace switchyard::http
