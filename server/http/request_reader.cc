#include "server/http/request_reader.h"

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/http/wire.h"

namespace switchyard::http {
namespace {

namespace beast = boost::beast;
using HttpError = beast::http::error;
using Parser = beast::http::request_parser<beast::http::string_body>;
using boost::system::error_code;

void Refuse(int status, std::string message, ReadResult* result) {
  result->error_status = status;
  result->error_message = std::move(message);
}

// Of an error of Beast's that is not the connection's own.
bool IsMalformed(const error_code& error) {
  return error.category() == make_error_code(HttpError::bad_method).category() && error != HttpError::partial_message &&
         error != HttpError::end_of_stream;
}

void RefuseTooLarge(const Limits& limits, ReadResult* result) {
  Refuse(413,
         absl::StrCat("the request's body is longer than ", limits.max_body_bytes, " bytes (--http-max-body-size)"),
         result);
}

void RefuseHeader(const error_code& error, bool timed_out, const Limits& limits, ReadResult* result) {
  if (timed_out) {
    Refuse(408,
           absl::StrCat("the request's header did not arrive within ", absl::FormatDuration(limits.header_timeout)),
           result);
  } else if (error == HttpError::header_limit || error == HttpError::buffer_overflow) {
    Refuse(431,
           absl::StrCat("the request's header is longer than ", limits.max_header_bytes,
                        " bytes (--http-max-header-size)"),
           result);
  } else if (error == HttpError::body_limit) {
    RefuseTooLarge(limits, result);
  } else if (IsMalformed(error)) {
    Refuse(400, absl::StrCat("the request is not well-formed HTTP: ", error.message()), result);
  }
}

void TakeHeader(const Parser& parser, ReadResult* result) {
  const auto& header = parser.get();
  result->keep_alive = header.keep_alive();
  result->http_1_0 = header.version() < 11;
  Request& request = result->request;
  request.method = std::string(header.method_string());
  const std::string_view target(header.target().data(), header.target().size());
  const size_t question_mark = target.find('?');
  request.path = std::string(target.substr(0, question_mark));
  if (question_mark != std::string_view::npos) request.query = std::string(target.substr(question_mark + 1));
  for (const auto& field : header) {
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  request.id = RequestIdFrom(request.header("x-request-id"));
}

Awaitable<void> ReadBody(Connection& connection, const Limits& limits, Parser& parser, ReadResult* result) {
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  if (beast::iequals(parser.get()[beast::http::field::expect], "100-continue") &&
      !co_await connection.Write(kContinue, limits.write_timeout)) {
    co_return;
  }
  parser.eager(true);
  const absl::Time deadline = absl::Now() + limits.body_timeout;
  while (!parser.is_done()) {
    connection.Arm(deadline - absl::Now());
    const auto [error, size] =
        co_await beast::http::async_read_some(connection.stream(), connection.buffer(), parser, kAwait);
    connection.Disarm();
    if (connection.lost()) co_return;
    if (error) {
      if (connection.timed_out()) {
        Refuse(408,
               absl::StrCat("the request's body did not arrive within ", absl::FormatDuration(limits.body_timeout)),
               result);
      } else if (error == HttpError::body_limit) {
        RefuseTooLarge(limits, result);
      } else if (IsMalformed(error)) {
        Refuse(400, absl::StrCat("the request's body is not well-formed HTTP: ", error.message()), result);
      }
      co_return;
    }
    if (!result->body_share.GrowTo(static_cast<int64_t>(parser.get().body().size()))) {
      Refuse(503,
             absl::StrCat("the bodies of the requests being received would take more than ", limits.max_body_memory,
                          " bytes (--http-max-body-memory); retry later or send fewer at a time"),
             result);
      co_return;
    }
  }
  result->request.body = std::move(parser.get().body());
  result->received = true;
}

}  // namespace

bool BodyShare::GrowTo(int64_t bytes) {
  const int64_t growth = bytes - bytes_;
  if (context_->body_bytes.fetch_add(growth) + growth > context_->config.limits.max_body_memory) {
    context_->body_bytes.fetch_sub(growth);
    return false;
  }
  bytes_ = bytes;
  return true;
}

void BodyShare::Release() { context_->body_bytes.fetch_sub(std::exchange(bytes_, 0)); }

Awaitable<ReadResult> ReadRequest(Connection& connection, SessionContext& context) {
  const Limits& limits = context.config.limits;
  ReadResult result(&context);
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(limits.max_header_bytes));
  parser.body_limit(static_cast<uint64_t>(limits.max_body_bytes));
  connection.Arm(limits.header_timeout);
  const auto [error, size] =
      co_await beast::http::async_read_header(connection.stream(), connection.buffer(), parser, kAwait);
  connection.Disarm();
  if (connection.lost()) co_return result;
  if (error) {
    RefuseHeader(error, connection.timed_out(), limits, &result);
    co_return result;
  }
  TakeHeader(parser, &result);
  if (const auto count = static_cast<int64_t>(result.request.headers.size()); count > limits.max_headers) {
    Refuse(431,
           absl::StrCat("the request has ", count, " header lines, more than ", limits.max_headers,
                        " (--http-max-headers)"),
           &result);
    co_return result;
  }
  co_await ReadBody(connection, limits, parser, &result);
  co_return result;
}

}  // namespace switchyard::http
