#include "server/http/request_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/http/request_parser.h"

namespace switchyard::http {
namespace {

using Stage = RequestParser::Stage;

void Refuse(int status, std::string message, ReadResult* result) {
  result->error_status = status;
  result->error_message = std::move(message);
}

// Gives the parser what the connection has, and reads until its stage is another one. False: that is not to be, and
// `result` says what to answer, if anything.
Awaitable<bool> ReadStage(Connection& connection, RequestParser& parser, const char* what, absl::Duration limit,
                          ReadResult* result) {
  const Stage stage = parser.stage();
  const absl::Time deadline = absl::Now() + limit;
  boost::beast::flat_buffer& buffer = connection.buffer();
  while (true) {
    const auto bytes = buffer.cdata();
    buffer.consume(parser.Put({static_cast<const char*>(bytes.data()), bytes.size()}));
    if (parser.stage() == Stage::kRefused) {
      Refuse(parser.error_status(), parser.error_message(), result);
      co_return false;
    }
    if (!result->body_share.GrowTo(static_cast<int64_t>(parser.body_size()))) {
      Refuse(503,
             absl::StrCat("the bodies of the requests being received would take more than ", result->body_share.limit(),
                          " bytes (--http-max-body-memory); retry later or send fewer at a time"),
             result);
      co_return false;
    }
    if (parser.stage() != stage) co_return true;
    if (!co_await connection.Fill(deadline - absl::Now())) {
      if (connection.timed_out()) {
        Refuse(408, absl::StrCat("the request's ", what, " did not arrive within ", absl::FormatDuration(limit)),
               result);
      }
      co_return false;
    }
  }
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
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  const Limits& limits = context.config.limits;
  ReadResult result(&context);
  RequestParser parser(limits);
  bool more = co_await ReadStage(connection, parser, "header", limits.header_timeout, &result);
  result.request = std::move(parser.request());
  if (more) {
    result.keep_alive = parser.keep_alive();
    result.http_1_0 = parser.is_http_1_0();
  }
  if (more && parser.stage() == Stage::kBody) {
    if (parser.expects_continue()) more = co_await connection.Write(kContinue, limits.write_timeout);
    if (more) more = co_await ReadStage(connection, parser, "body", limits.body_timeout, &result);
    result.request.body = std::move(parser.request().body);
  }
  result.received = more;
  co_return result;
}

}  // namespace switchyard::http
