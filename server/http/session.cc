#include "server/http/session.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "server/http/wire.h"
#include "spdlog/spdlog.h"

namespace switchyard::http {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using Timer = net::basic_waitable_timer<std::chrono::steady_clock, net::wait_traits<std::chrono::steady_clock>, Strand>;
template <typename T>
using Awaitable = net::awaitable<T, Strand>;
using Parser = beast::http::request_parser<beast::http::string_body>;

// Yields (error_code, ...) instead of throwing.
constexpr auto kAwait = net::as_tuple(net::use_awaitable_t<Strand>());

// Read ahead of the answer under way, at most: what a client may pipeline while its disconnect can still be seen.
constexpr size_t kMaxReadAhead = 64 * 1024;
constexpr size_t kReadSize = 4096;
constexpr std::chrono::seconds kLingerTime(2);
constexpr size_t kMaxLingerBytes = 1024 * 1024;

class HttpSession : public Session, public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(Socket socket, SessionContext* context, std::function<void()> on_end)
      : context_(context),
        on_end_(std::move(on_end)),
        socket_(std::move(socket)),
        deadline_(socket_.get_executor()),
        wake_(socket_.get_executor()),
        buffer_(context->config.max_header_bytes + kMaxReadAhead),
        wake_target_(std::make_shared<WakeTarget>()) {
    wake_target_->session = this;
  }
  ~HttpSession() override { Detach(); }

  void Spawn(bool at_capacity) {
    // Posted: nothing of the session may run inside of the caller, who may hold a lock that on_end takes.
    net::post(socket_.get_executor(), [self = shared_from_this(), at_capacity] {
      net::co_spawn(
          self->socket_.get_executor(), [self, at_capacity] { return self->Run(at_capacity); }, net::detached);
    });
  }

  void CloseWhenIdle() override {
    net::post(socket_.get_executor(), [self = shared_from_this()] {
      error_code ignored;
      if (self->idle_) self->socket_.cancel(ignored);
    });
  }
  void CloseNow() override {
    net::post(socket_.get_executor(), [self = shared_from_this()] { self->Lose(); });
  }

 private:
  // Outlives the session in the wakers that were handed out.
  struct WakeTarget {
    std::mutex mu;
    HttpSession* session = nullptr;  // guarded by mu; null once the session has ended
    bool posted = false;             // guarded by mu; a wake is on its way
  };

  Awaitable<void> Run(bool at_capacity);
  Awaitable<std::optional<Request>> ReadRequest();
  Awaitable<bool> ReadBody(Parser& parser);
  Awaitable<bool> Serve(Request request);
  Awaitable<bool> SendStream(std::string out, bool chunked);
  Awaitable<void> SendError(int status, std::string message);
  Awaitable<bool> Write(std::string_view bytes);
  Awaitable<void> Linger();
  Awaitable<void> WaitForWake();
  Awaitable<void> StopWatching();

  std::optional<Response> PullHead();
  bool PullPiece(std::string* piece, bool* failed);
  Waker MakeWaker();
  void Detach() {
    std::lock_guard lock(wake_target_->mu);
    wake_target_->session = nullptr;
  }
  void Watch();
  void Arm(std::chrono::nanoseconds limit);
  void Arm(absl::Duration limit) { Arm(absl::ToChronoNanoseconds(limit)); }
  void Disarm();
  void Lose();
  bool CancelAnswer();

  // constant after construction
  SessionContext* const context_;  // borrowed
  const std::function<void()> on_end_;

  // touched on the strand only
  Socket socket_;
  Timer deadline_;
  Timer wake_;
  beast::flat_buffer buffer_;
  std::shared_ptr<WakeTarget> wake_target_;
  net::cancellation_signal cancel_watch_;
  std::unique_ptr<Answer> answer_;
  std::string request_id_;
  uint64_t deadline_generation_ = 0;
  bool timed_out_ = false;
  bool idle_ = false;   // between requests
  bool woken_ = false;  // the answer has news
  bool watching_ = false;
  bool stop_watching_ = false;
  bool gone_ = false;  // the client has disconnected, or is to be disconnected at once
  bool keep_alive_ = false;
  bool http_1_0_ = false;
};

Awaitable<void> HttpSession::Run(bool at_capacity) {
  error_code ignored;
  socket_.set_option(net::ip::tcp::no_delay(true), ignored);
  if (const int size = context_->config.socket_send_buffer; size > 0) {
    socket_.set_option(net::socket_base::send_buffer_size(size), ignored);
  }
  if (at_capacity) {
    co_await SendError(503, absl::StrCat("the server has all of its ", context_->config.max_connections,
                                         " connections in use; retry later or reuse connections"));
  } else {
    while (true) {
      std::optional<Request> request = co_await ReadRequest();
      if (!request.has_value() || !co_await Serve(std::move(*request))) break;
    }
  }
  if (!gone_) co_await Linger();
  socket_.close(ignored);
  Detach();
  on_end_();
}

// nullopt: the connection ends; an error that the client should know of has been sent.
Awaitable<std::optional<Request>> HttpSession::ReadRequest() {
  if (context_->stopping && buffer_.size() == 0) co_return std::nullopt;
  const ServerConfig& config = context_->config;
  request_id_.clear();
  if (buffer_.size() == 0) {
    idle_ = true;
    Arm(config.idle_timeout);
    const auto [error] = co_await socket_.async_wait(Socket::wait_read, kAwait);
    Disarm();
    idle_ = false;
    if (error || gone_) co_return std::nullopt;
  }

  Parser parser;
  parser.header_limit(static_cast<uint32_t>(config.max_header_bytes));
  parser.body_limit(config.max_body_bytes);
  Arm(config.header_timeout);
  const auto [error, size] = co_await beast::http::async_read_header(socket_, buffer_, parser, kAwait);
  Disarm();
  using HttpError = beast::http::error;
  if (error == HttpError::end_of_stream || gone_) co_return std::nullopt;
  if (error) {
    if (timed_out_) {
      co_await SendError(408, absl::StrCat("the request's header did not arrive within ",
                                           absl::FormatDuration(config.header_timeout)));
    } else if (error == HttpError::header_limit || error == HttpError::buffer_overflow) {
      co_await SendError(431, absl::StrCat("the request's header is longer than ", config.max_header_bytes, " bytes"));
    } else if (error == HttpError::body_limit) {
      co_await SendError(413, absl::StrCat("the request's body is longer than ", config.max_body_bytes, " bytes"));
    } else if (error.category() == make_error_code(HttpError::bad_method).category() &&
               error != HttpError::partial_message) {
      co_await SendError(400, absl::StrCat("the request is not well-formed HTTP: ", error.message()));
    }
    co_return std::nullopt;
  }

  const auto& header = parser.get();
  keep_alive_ = header.keep_alive();
  http_1_0_ = header.version() < 11;
  Request request;
  request.method = std::string(header.method_string());
  const std::string_view target(header.target().data(), header.target().size());
  const size_t question_mark = target.find('?');
  request.path = std::string(target.substr(0, question_mark));
  if (question_mark != std::string_view::npos) request.query = std::string(target.substr(question_mark + 1));
  for (const auto& field : header) {
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  request.id = RequestIdFrom(request.header("x-request-id"));
  request_id_ = request.id;
  if (!co_await ReadBody(parser)) co_return std::nullopt;
  request.body = std::move(parser.get().body());
  co_return request;
}

Awaitable<bool> HttpSession::ReadBody(Parser& parser) {
  if (parser.is_done()) co_return true;
  if (beast::iequals(parser.get()[beast::http::field::expect], "100-continue") &&
      !co_await Write("HTTP/1.1 100 Continue\r\n\r\n")) {
    co_return false;
  }
  const ServerConfig& config = context_->config;
  Arm(config.body_timeout);
  const auto [error, size] = co_await beast::http::async_read(socket_, buffer_, parser, kAwait);
  Disarm();
  if (gone_) co_return false;
  if (!error) co_return true;
  if (timed_out_) {
    co_await SendError(
        408, absl::StrCat("the request's body did not arrive within ", absl::FormatDuration(config.body_timeout)));
  } else if (error == beast::http::error::body_limit) {
    co_await SendError(413, absl::StrCat("the request's body is longer than ", config.max_body_bytes, " bytes"));
  } else if (error != beast::http::error::partial_message &&
             error.category() == make_error_code(beast::http::error::bad_method).category()) {
    co_await SendError(400, absl::StrCat("the request's body is not well-formed HTTP: ", error.message()));
  }
  co_return false;
}

// False: the connection ends.
Awaitable<bool> HttpSession::Serve(Request request) {
  const bool head_only = request.method == "HEAD";
  try {
    answer_ = context_->handler(request, MakeWaker());
  } catch (const std::exception& error) {
    spdlog::error("request {}: {} {} threw: {}", request.id, request.method, request.path, error.what());
    answer_ = nullptr;
  }
  request.body = std::string();
  stop_watching_ = false;
  std::optional<Response> head = PullHead();
  if (!head.has_value() || head->stream) Watch();
  while (!head.has_value()) {
    co_await WaitForWake();
    if (gone_) co_return CancelAnswer();
    head = PullHead();
  }

  if (context_->stopping) keep_alive_ = false;
  const bool chunked = head->stream && !http_1_0_;
  if (head->stream && (http_1_0_ || head_only)) keep_alive_ = false;
  std::string out = SerializeHead(*head, {.request_id = request_id_, .keep_alive = keep_alive_, .chunked = chunked});
  bool sent = false;
  if (head_only) {
    if (head->stream) CancelAnswer();
    sent = co_await Write(out);
  } else if (head->stream) {
    sent = co_await SendStream(std::move(out), chunked);
  } else {
    out.append(head->body);
    sent = co_await Write(out);
  }
  if (!sent) co_return CancelAnswer();
  answer_.reset();
  co_await StopWatching();
  co_return keep_alive_ && !gone_;
}

// `out` is the head. False: the client is gone.
Awaitable<bool> HttpSession::SendStream(std::string out, bool chunked) {
  std::string piece;
  bool more = true;
  while (more) {
    woken_ = false;
    piece.clear();
    bool failed = false;
    more = PullPiece(&piece, &failed);
    // Without the closing chunk the client sees that the stream was cut.
    if (failed) co_return false;
    if (chunked) {
      AppendChunk(piece, &out);
      if (!more) AppendLastChunk(&out);
    } else {
      out.append(piece);
    }
    if (!out.empty()) {
      if (!co_await Write(out) || gone_) co_return false;
      out.clear();
    } else if (more) {
      co_await WaitForWake();
      if (gone_) co_return false;
    }
  }
  co_return true;
}

std::optional<Response> HttpSession::PullHead() {
  woken_ = false;
  try {
    if (answer_ != nullptr) return answer_->Head();
  } catch (const std::exception& error) {
    spdlog::error("request {}: the answer threw: {}", request_id_, error.what());
    CancelAnswer();
  }
  keep_alive_ = false;
  return Response{.status = 500, .body = context_->error(500, "internal error; the server's log has the details")};
}

bool HttpSession::PullPiece(std::string* piece, bool* failed) {
  try {
    return answer_->Read(piece);
  } catch (const std::exception& error) {
    spdlog::error("request {}: the stream threw: {}", request_id_, error.what());
    *failed = true;
    return false;
  }
}

Awaitable<void> HttpSession::SendError(int status, std::string message) {
  keep_alive_ = false;
  Response response{.status = status, .body = context_->error(status, message)};
  if (status == 503) response.headers.push_back({"Retry-After", "1"});
  if (request_id_.empty()) request_id_ = RequestIdFrom("");
  std::string out = SerializeHead(response, {.request_id = request_id_, .keep_alive = false, .chunked = false});
  out.append(response.body);
  co_await Write(out);
}

// False: not all could be written; the connection is lost. The limit is on each step forward, not on the whole.
Awaitable<bool> HttpSession::Write(std::string_view bytes) {
  while (!bytes.empty() && !gone_) {
    Arm(context_->config.write_timeout);
    const auto [error, size] = co_await socket_.async_write_some(net::buffer(bytes), kAwait);
    Disarm();
    if (error) Lose();
    bytes.remove_prefix(size);
  }
  co_return !gone_;
}

// Closing with unread input would reset the connection and could take the answer from the client (RFC 9112, 9.6).
Awaitable<void> HttpSession::Linger() {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  std::array<char, kReadSize> discarded;
  Arm(kLingerTime);
  for (size_t total = 0; total < kMaxLingerBytes && !timed_out_ && !gone_;) {
    const auto [error, size] = co_await socket_.async_read_some(net::buffer(discarded), kAwait);
    if (error) break;
    total += size;
  }
  Disarm();
}

Awaitable<void> HttpSession::WaitForWake() {
  while (!woken_ && !gone_) {
    wake_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await wake_.async_wait(kAwait);
  }
}

Waker HttpSession::MakeWaker() {
  return [target = wake_target_] {
    std::lock_guard lock(target->mu);
    if (target->session == nullptr || target->posted) return;
    std::shared_ptr<HttpSession> self = target->session->weak_from_this().lock();
    if (self == nullptr) return;
    target->posted = true;
    net::post(self->socket_.get_executor(), [self] {
      {
        std::lock_guard lock(self->wake_target_->mu);
        self->wake_target_->posted = false;
      }
      self->woken_ = true;
      self->wake_.cancel();
    });
  };
}

// Reads on while an answer is made or sent, for the end of the stream to show at once. A client that closes its
// sending side counts as gone.
void HttpSession::Watch() {
  if (buffer_.size() + kReadSize > kMaxReadAhead) return;
  watching_ = true;
  socket_.async_read_some(
      buffer_.prepare(kReadSize),
      net::bind_cancellation_slot(cancel_watch_.slot(), [self = shared_from_this()](error_code error, size_t size) {
        self->watching_ = false;
        self->buffer_.commit(size);
        if (error && !self->stop_watching_) self->gone_ = true;
        if (!error && !self->stop_watching_) self->Watch();
        self->wake_.cancel();
      }));
}

Awaitable<void> HttpSession::StopWatching() {
  stop_watching_ = true;
  cancel_watch_.emit(net::cancellation_type::total);
  while (watching_) {
    wake_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await wake_.async_wait(kAwait);
  }
}

void HttpSession::Arm(std::chrono::nanoseconds limit) {
  timed_out_ = false;
  const uint64_t generation = ++deadline_generation_;
  deadline_.expires_after(limit);
  deadline_.async_wait([self = shared_from_this(), generation](error_code error) {
    // The timer may have fired just before it was disarmed.
    if (error || generation != self->deadline_generation_) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void HttpSession::Disarm() {
  ++deadline_generation_;
  deadline_.cancel();
}

void HttpSession::Lose() {
  gone_ = true;
  error_code ignored;
  socket_.cancel(ignored);
  wake_.cancel();
}

bool HttpSession::CancelAnswer() {
  if (answer_ != nullptr) answer_->Cancel();
  answer_.reset();
  return false;
}

}  // namespace

std::shared_ptr<Session> Session::Start(Socket socket, SessionContext* context, bool at_capacity,
                                        std::function<void()> on_end) {
  auto session = std::make_shared<HttpSession>(std::move(socket), context, std::move(on_end));
  session->Spawn(at_capacity);
  return session;
}

}  // namespace switchyard::http
