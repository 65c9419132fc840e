#include "server/http/request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/wire.h"

namespace switchyard::http {

namespace beast = boost::beast;
using HttpError = beast::http::error;
using boost::system::error_code;

class RequestParser::Impl {
 public:
  explicit Impl(const Limits& limits) : limits_(limits) {
    // Beast counts the start line or not, depending on how the bytes come; what is counted here comes first.
    parser_.header_limit(static_cast<uint32_t>(limits.max_header_bytes) + 1);
    parser_.body_limit(static_cast<uint64_t>(limits.max_body_bytes));
  }

  size_t Put(std::string_view bytes) {
    if (bytes.empty()) return 0;
    const bool in_header = stage_ == Stage::kHeader;
    parser_.eager(!in_header);
    error_code error;
    const size_t used = parser_.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
    const bool waits = error == HttpError::need_more;
    header_bytes_ += in_header ? used : 0;
    // Of a header all is kept until its end; of a body only what must be known whole, as a trailer must.
    const size_t kept = (waits ? bytes.size() - used : 0) + (in_header ? header_bytes_ : 0);
    if (error && !waits) {
      Refuse(error);
    } else if (kept > static_cast<size_t>(limits_.max_header_bytes)) {
      Refuse(HttpError::header_limit);
    } else if (in_header && parser_.is_header_done()) {
      TakeHeader();
      if (stage_ == Stage::kBody && parser_.is_done()) stage_ = Stage::kReceived;  // there is no body
    } else if (!in_header && parser_.is_done()) {
      request.body = std::move(parser_.get().body());
      stage_ = Stage::kReceived;
    }
    return used;
  }

  Stage stage() const { return stage_; }
  size_t body_size() const { return stage_ == Stage::kReceived ? request.body.size() : parser_.get().body().size(); }
  bool expects_continue() const { return beast::iequals(parser_.get()[beast::http::field::expect], "100-continue"); }
  const auto& header() const { return parser_.get(); }

  Request request;
  int error_status = 0;
  std::string error_message;

 private:
  void Refuse(int status, std::string message) {
    stage_ = Stage::kRefused;
    error_status = status;
    error_message = std::move(message);
  }

  void Refuse(const error_code& error) {
    const char* const part = stage_ == Stage::kHeader ? "header" : "body";
    if (error == HttpError::body_limit) {
      return Refuse(413, absl::StrCat("the request's body is longer than ", limits_.max_body_bytes,
                                      " bytes (--http-max-body-size)"));
    }
    if (error == HttpError::header_limit) {
      const char* const too_long = stage_ == Stage::kHeader ? "header" : "trailer, or the header of a chunk,";
      return Refuse(431, absl::StrCat("the request's ", too_long, " is longer than ", limits_.max_header_bytes,
                                      " bytes (--http-max-header-size)"));
    }
    Refuse(400, absl::StrCat("the request's ", part, " is not well-formed HTTP: ", error.message()));
  }

  void TakeHeader() {
    stage_ = Stage::kBody;
    request.method = std::string(header().method_string());
    const std::string_view target(header().target().data(), header().target().size());
    const size_t question_mark = target.find('?');
    request.path = std::string(target.substr(0, question_mark));
    if (question_mark != std::string_view::npos) request.query = std::string(target.substr(question_mark + 1));
    for (const auto& field : header()) {
      request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    }
    request.id = RequestIdFrom(request.header("x-request-id"));
    if (const auto count = static_cast<int64_t>(request.headers.size()); count > limits_.max_headers) {
      Refuse(431, absl::StrCat("the request has ", count, " header lines, more than ", limits_.max_headers,
                               " (--http-max-headers)"));
    }
    // Of a coding that is not understood the length is not known: what another server takes for the body could be the
    // next request here (RFC 9112, 6.1).
    const auto coding = header()[beast::http::field::transfer_encoding];
    if (!coding.empty() && !beast::iequals(coding, "chunked")) {
      Refuse(501, absl::StrCat("the request has \"Transfer-Encoding: ", std::string(coding.substr(0, 40)),
                               "\"; send the body as it is, with Content-Length or \"Transfer-Encoding: chunked\""));
    }
  }

  const Limits& limits_;  // borrowed
  beast::http::request_parser<beast::http::string_body> parser_;
  Stage stage_ = Stage::kHeader;
  size_t header_bytes_ = 0;
};

RequestParser::RequestParser(const Limits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;
RequestParser::Stage RequestParser::stage() const { return impl_->stage(); }
size_t RequestParser::Put(std::string_view bytes) { return impl_->Put(bytes); }
Request& RequestParser::request() { return impl_->request; }
size_t RequestParser::body_size() const { return impl_->body_size(); }
bool RequestParser::keep_alive() const { return impl_->header().keep_alive(); }
bool RequestParser::is_http_1_0() const { return impl_->header().version() < 11; }
bool RequestParser::expects_continue() const { return impl_->expects_continue(); }
int RequestParser::error_status() const { return impl_->error_status; }
const std::string& RequestParser::error_message() const { return impl_->error_message; }

}  // namespace switchyard::http
