#include "server/http/post.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include "absl/strings/str_cat.h"

namespace switchyard::http {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

constexpr uint32_t kMaxAnswerHeader = 16 * 1024;

// Runs what was started on `io`, whose result goes to `error`.
error_code RunOne(net::io_context& io, const error_code& error) {
  io.restart();
  io.run();
  return error;
}

}  // namespace

absl::Status Post(const PostTarget& target, const std::string& content_type, const std::string& body,
                  absl::Duration limit) {
  const auto failure = [&target](const char* step, const error_code& error) {
    return absl::UnavailableError(
        absl::StrCat("http://", target.host, ":", target.port, target.path, ": ", step, ": ", error.message()));
  };
  net::io_context io;
  error_code error;
  net::ip::tcp::resolver resolver(io);
  const auto endpoints = resolver.resolve(target.host, std::to_string(target.port), error);
  if (error) return failure("resolving the host", error);

  beast::tcp_stream stream(io);
  stream.expires_after(absl::ToChronoNanoseconds(limit));
  stream.async_connect(endpoints, [&error](error_code result, const auto&) { error = result; });
  if (RunOne(io, error)) return failure("connecting", error);

  beast::http::request<beast::http::string_body> request(beast::http::verb::post, target.path, 11, body);
  request.set(beast::http::field::host, absl::StrCat(target.host, ":", target.port));
  request.set(beast::http::field::user_agent, "switchyard");
  request.set(beast::http::field::content_type, content_type);
  request.keep_alive(false);
  request.prepare_payload();
  beast::http::async_write(stream, request, [&error](error_code result, size_t) { error = result; });
  if (RunOne(io, error)) return failure("sending", error);

  beast::flat_buffer buffer(2 * size_t{kMaxAnswerHeader});
  beast::http::response_parser<beast::http::empty_body> parser;
  parser.header_limit(kMaxAnswerHeader);
  beast::http::async_read_header(stream, buffer, parser, [&error](error_code result, size_t) { error = result; });
  if (RunOne(io, error)) return failure("reading the answer", error);
  const int status = static_cast<int>(parser.get().result_int());
  if (status >= 200 && status < 300) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("http://", target.host, ":", target.port, target.path, ": the answer is ", status));
}

}  // namespace switchyard::http
