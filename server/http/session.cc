#include "server/http/session.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/answered_request.h"
#include "server/http/connection.h"
#include "server/http/request_reader.h"
#include "server/http/wake_signal.h"
#include "server/http/wire.h"

namespace switchyard::http {
namespace {

namespace net = boost::asio;
using boost::system::error_code;

// Read ahead of the answer under way, at most: what a client may pipeline while its disconnect can still be seen.
constexpr size_t kMaxReadAhead = 64 * 1024;
constexpr size_t kReadSize = 4096;

class HttpSession : public Session, public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(Socket socket, TlsContext tls, SessionContext* context, std::function<void()> on_end)
      : context_(context),
        on_end_(std::move(on_end)),
        connection_(std::make_shared<Connection>(std::move(socket), std::move(tls),
                                                 context->config.limits.max_header_bytes + kMaxReadAhead)),
        wake_(std::make_shared<WakeSignal>(connection_->stream().get_executor())),
        answered_(context) {}
  ~HttpSession() override { wake_->Detach(); }

  void Spawn(bool at_capacity) {
    // Posted: nothing of the session may run inside of the caller, who may hold a lock that on_end takes.
    net::post(executor(), [self = shared_from_this(), at_capacity] {
      net::co_spawn(
          self->executor(), [self, at_capacity] { return self->Run(at_capacity); }, net::detached);
    });
  }

  void CloseWhenIdle() override {
    net::post(executor(), [self = shared_from_this()] {
      if (self->idle_) self->connection_->Cancel();
    });
  }
  void CloseNow() override {
    net::post(executor(), [self = shared_from_this()] { self->Lose(); });
  }

 private:
  Strand executor() { return connection_->stream().get_executor(); }
  Awaitable<void> Run(bool at_capacity);
  Awaitable<bool> WaitForRequest();
  Awaitable<bool> Serve(ReadResult read);
  Awaitable<bool> SendAnswer(const Request& request, Response head);
  Awaitable<bool> SendStream(std::string out, bool chunked);
  Awaitable<void> Refuse(const Request& request, int status, std::string message);
  Awaitable<bool> Write(std::string_view bytes);
  Awaitable<void> WaitForWake();
  Awaitable<void> StopWatching();
  std::optional<Response> PullHead();

  void Watch();
  void Lose();

  // constant after construction
  SessionContext* const context_;  // borrowed
  const std::function<void()> on_end_;
  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<WakeSignal> wake_;

  // touched on the strand only
  net::cancellation_signal cancel_watch_;
  AnsweredRequest answered_;  // the request under way
  bool idle_ = false;         // between requests
  bool watching_ = false;
  bool stop_watching_ = false;
  bool keep_alive_ = false;
  bool http_1_0_ = false;
};

Awaitable<void> HttpSession::Run(bool at_capacity) {
  const Limits& limits = context_->config.limits;
  error_code ignored;
  Socket& socket = connection_->stream().socket();
  socket.set_option(net::ip::tcp::no_delay(true), ignored);
  if (const int size = context_->config.socket_send_buffer; size > 0) {
    socket.set_option(net::socket_base::send_buffer_size(size), ignored);
  }
  bool ended_idle = false;
  if (!co_await connection_->Handshake(limits.header_timeout)) {
    connection_->Lose();
  } else if (at_capacity) {
    const Request unread;
    co_await Refuse(unread, 503,
                    absl::StrCat("the server has all of its ", limits.max_connections,
                                 " connections in use (--http-max-connections); retry later or reuse connections"));
  } else {
    while (true) {
      if (!co_await WaitForRequest()) {
        ended_idle = true;
        break;
      }
      ReadResult read = co_await ReadRequest(*connection_, *context_);
      read.request.client = connection_->client();
      if (!read.received) {
        keep_alive_ = false;
        if (read.error_status != 0) co_await Refuse(read.request, read.error_status, std::move(read.error_message));
        break;
      }
      if (!co_await Serve(std::move(read))) break;
    }
  }
  // Of an idle connection nothing is on its way that closing could take from the client, but TLS's own last word.
  const bool may_close = ended_idle && !connection_->stream().is_tls();
  if (!connection_->lost() && !may_close) co_await connection_->Linger();
  connection_->Close();
  wake_->Detach();
  on_end_();
}

// False: the connection ends.
Awaitable<bool> HttpSession::WaitForRequest() {
  if (connection_->buffer().size() > 0) co_return true;
  if (context_->stopping) co_return false;
  idle_ = true;
  const bool come = co_await connection_->Fill(context_->config.limits.idle_timeout);
  idle_ = false;
  co_return come;
}

// False: the connection ends.
Awaitable<bool> HttpSession::Serve(ReadResult read) {
  Request& request = read.request;
  keep_alive_ = read.keep_alive;
  http_1_0_ = read.http_1_0;
  answered_.Begin(request);
  answered_.Handle(request, wake_->MakeWaker());
  request.body = std::string();
  read.body_share.Release();
  stop_watching_ = false;
  std::optional<Response> head = PullHead();
  if (!head.has_value() || head->stream) Watch();
  while (!head.has_value()) {
    co_await WaitForWake();
    if (connection_->lost()) break;
    head = PullHead();
  }
  const bool sent = head.has_value() && co_await SendAnswer(request, *std::move(head));
  answered_.End(sent);
  if (!sent) co_return false;
  co_await StopWatching();
  co_return keep_alive_ && !connection_->lost();
}

// False: the client is gone.
Awaitable<bool> HttpSession::SendAnswer(const Request& request, Response head) {
  const bool head_only = request.method == "HEAD";
  if (context_->stopping) keep_alive_ = false;
  const bool chunked = head.stream && !http_1_0_;
  if (head.stream && (http_1_0_ || head_only)) keep_alive_ = false;
  context_->cors.AddHeaders(request, &head.headers);
  answered_.report().status = head.status;
  std::string out = SerializeHead(head, {.request_id = request.id, .keep_alive = keep_alive_, .chunked = chunked});
  if (head.stream && !head_only) co_return co_await SendStream(std::move(out), chunked);
  if (!head_only) out.append(head.body);
  if (head.stream) answered_.Cancel();
  co_return co_await Write(out);
}

// `out` is the head. False: the client is gone.
Awaitable<bool> HttpSession::SendStream(std::string out, bool chunked) {
  std::string piece;
  bool more = true;
  while (more) {
    wake_->Forget();
    piece.clear();
    more = answered_.Read(&piece);
    // Without the closing chunk the client sees that the stream was cut.
    if (answered_.failed()) co_return false;
    if (chunked) {
      AppendChunk(piece, &out);
      if (!more) AppendLastChunk(&out);
    } else {
      out.append(piece);
    }
    if (!out.empty()) {
      if (!co_await Write(out)) co_return false;
      out.clear();
    } else if (more) {
      co_await WaitForWake();
      if (connection_->lost()) co_return false;
    }
  }
  co_return true;
}

std::optional<Response> HttpSession::PullHead() {
  wake_->Forget();
  std::optional<Response> head = answered_.Head();
  if (answered_.failed()) keep_alive_ = false;
  return head;
}

Awaitable<void> HttpSession::Refuse(const Request& request, int status, std::string message) {
  answered_.Begin(request);
  Report& report = answered_.report();
  if (report.id.empty()) report.id = RequestIdFrom("");
  report.client = connection_->client();
  report.status = status;
  Response response{.status = status, .body = context_->error(status, message)};
  if (status == 503) response.headers.push_back({"Retry-After", "1"});
  context_->cors.AddHeaders(request, &response.headers);
  std::string out = SerializeHead(response, {.request_id = report.id, .keep_alive = false, .chunked = false});
  out.append(response.body);
  answered_.End(co_await Write(out));
}

Awaitable<bool> HttpSession::Write(std::string_view bytes) {
  answered_.MarkFirstByte();
  const bool sent = co_await connection_->Write(bytes, context_->config.limits.write_timeout);
  if (sent) answered_.CountBytes(bytes.size());
  co_return sent;
}

Awaitable<void> HttpSession::WaitForWake() {
  while (!wake_->woken() && !connection_->lost()) co_await wake_->Sleep();
}

// Reads on while an answer is made or sent, for the end of the stream to show at once. A client that closes its
// sending side counts as gone.
void HttpSession::Watch() {
  boost::beast::flat_buffer& buffer = connection_->buffer();
  if (buffer.size() + kReadSize > kMaxReadAhead) return;
  watching_ = true;
  connection_->stream().async_read_some(
      buffer.prepare(kReadSize),
      net::bind_cancellation_slot(cancel_watch_.slot(), [self = shared_from_this()](error_code error, size_t size) {
        self->watching_ = false;
        self->connection_->buffer().commit(size);
        if (error && !self->stop_watching_) self->connection_->Lose();
        if (!error && !self->stop_watching_) self->Watch();
        self->wake_->Interrupt();
      }));
}

Awaitable<void> HttpSession::StopWatching() {
  stop_watching_ = true;
  // Terminal is what a read through TLS listens to. It is not terminal here: what was read is kept for the next read.
  cancel_watch_.emit(net::cancellation_type::all);
  while (watching_) co_await wake_->Sleep();
}

void HttpSession::Lose() {
  connection_->Lose();
  wake_->Interrupt();
}

}  // namespace

std::shared_ptr<Session> Session::Start(Socket socket, TlsContext tls, SessionContext* context, bool at_capacity,
                                        std::function<void()> on_end) {
  auto session = std::make_shared<HttpSession>(std::move(socket), std::move(tls), context, std::move(on_end));
  session->Spawn(at_capacity);
  return session;
}

}  // namespace switchyard::http
