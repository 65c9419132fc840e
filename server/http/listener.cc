#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/access/unix_socket.h"
#include "server/http/connection.h"
#include "server/http/server.h"
#include "server/http/session.h"
#include "server/http/tls.h"
#include "spdlog/spdlog.h"

namespace switchyard::http {
namespace {

namespace net = boost::asio;
using boost::system::error_code;
using Protocol = net::generic::stream_protocol;
using Acceptor = net::basic_socket_acceptor<Protocol, Strand>;

// After accept fails for want of file descriptors or memory: others must get the chance to free some.
constexpr std::chrono::milliseconds kAcceptRetryDelay(50);
// At most one warning in that time, however often it fails.
constexpr absl::Duration kAcceptWarningPeriod = absl::Seconds(10);
// Cancelled sessions end as soon as their strand runs.
constexpr absl::Duration kCancelTime = absl::Seconds(5);

absl::Status ToStatus(const error_code& error, const ServerConfig& config) {
  const std::string address =
      config.unix_path.empty() ? absl::StrCat(config.host, ":", config.port) : absl::StrCat("unix:", config.unix_path);
  const std::string what = absl::StrCat("cannot listen on ", address, " (--http): ", error.message());
  if (error == net::error::address_in_use) {
    return absl::AlreadyExistsError(absl::StrCat(what, "; stop the other server or choose another port"));
  }
  if (error == net::error::access_denied) {
    return absl::PermissionDeniedError(absl::StrCat(
        what, config.unix_path.empty() ? "; choose a port above 1023" : "; choose a directory that it may write to"));
  }
  return absl::InvalidArgumentError(what);
}

class Listener : public Server {
 public:
  Listener(const ServerConfig& config, Handler handler, ErrorBody error, ReportSink on_refused)
      : context_{.config = config,
                 .handler = std::move(handler),
                 .error = error,
                 .on_refused = std::move(on_refused),
                 .cors = CorsPolicy(config.cors_origins)},
        acceptor_(net::make_strand(io_)),
        retry_(acceptor_.get_executor()) {}
  ~Listener() override {
    Shutdown(absl::ZeroDuration()).IgnoreError();
    io_.stop();
    for (std::thread& thread : threads_) thread.join();
  }

  absl::Status Listen();

  uint16_t port() const override { return port_; }
  int64_t num_connections() const override {
    absl::MutexLock lock(&mu_);
    return static_cast<int64_t>(sessions_.size());
  }
  absl::Status ReloadTls() override;
  absl::Status Shutdown(absl::Duration limit) override;

 private:
  absl::Status Open();
  absl::Status OpenUnixSocket();
  void Bind(const Protocol::endpoint& endpoint, error_code* error);
  void Accept();
  void Warn(const error_code& error);
  void Admit(Socket socket);
  bool WaitForSessions(absl::Duration limit) ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<std::shared_ptr<Session>> OpenSessions() ABSL_LOCKS_EXCLUDED(mu_);

  SessionContext context_;
  net::io_context io_;
  Acceptor acceptor_;  // used on its strand, once listening
  Timer retry_;
  absl::Time last_warning_ = absl::InfinitePast();  // on the acceptor's strand
  uint16_t port_ = 0;                               // constant once listening
  bool owns_unix_path_ = false;                     // likewise
  std::vector<std::thread> threads_;

  absl::Mutex shutdown_mu_;
  std::optional<absl::Status> shutdown_result_ ABSL_GUARDED_BY(shutdown_mu_);

  mutable absl::Mutex mu_;
  TlsContext tls_ ABSL_GUARDED_BY(mu_);  // null: plain
  uint64_t next_session_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, std::weak_ptr<Session>> sessions_ ABSL_GUARDED_BY(mu_);
};

absl::Status Listener::Listen() {
  if (absl::Status status = ReloadTls(); !status.ok()) return status;
  if (absl::Status status = Open(); !status.ok()) return status;
  net::post(acceptor_.get_executor(), [this] { Accept(); });
  for (int i = 0; i < context_.config.num_threads; ++i) {
    threads_.emplace_back([this] { io_.run(); });
  }
  return absl::OkStatus();
}

absl::Status Listener::Open() {
  const ServerConfig& config = context_.config;
  if (!config.unix_path.empty()) return OpenUnixSocket();
  error_code error;
  net::ip::tcp::resolver resolver(io_);
  const auto found = resolver.resolve(config.host, std::to_string(config.port), net::ip::tcp::resolver::passive, error);
  if (error) return ToStatus(error, config);
  Bind(found.begin()->endpoint(), &error);
  if (!error) acceptor_.listen(Acceptor::max_listen_connections, error);
  if (error) return ToStatus(error, config);

  const Protocol::endpoint local = acceptor_.local_endpoint(error);
  net::ip::tcp::endpoint bound;
  bound.resize(local.size());
  std::memcpy(bound.data(), local.data(), local.size());
  port_ = bound.port();
  return absl::OkStatus();
}

absl::Status Listener::OpenUnixSocket() {
  const ServerConfig& config = context_.config;
  if (absl::Status status = ClaimUnixSocket(config.unix_path); !status.ok()) return status;
  error_code error;
  Bind(net::local::stream_protocol::endpoint(config.unix_path), &error);
  if (error) return ToStatus(error, config);
  owns_unix_path_ = true;
  // Nobody can connect before listen().
  if (chmod(config.unix_path.c_str(), S_IRUSR | S_IWUSR) != 0) {
    return ToStatus(error_code(errno, boost::system::system_category()), config);
  }
  acceptor_.listen(Acceptor::max_listen_connections, error);
  return error ? ToStatus(error, config) : absl::OkStatus();
}

void Listener::Bind(const Protocol::endpoint& endpoint, error_code* error) {
  acceptor_.open(endpoint.protocol(), *error);
  if (!*error) acceptor_.set_option(Acceptor::reuse_address(true), *error);
  if (!*error) acceptor_.bind(endpoint, *error);
}

absl::Status Listener::ReloadTls() {
  const ServerConfig& config = context_.config;
  if (config.tls_cert.empty() || !config.unix_path.empty()) return absl::OkStatus();
  absl::StatusOr<TlsContext> loaded = LoadTls(config.tls_cert, config.tls_key);
  if (!loaded.ok()) return loaded.status();
  absl::MutexLock lock(&mu_);
  tls_ = *std::move(loaded);
  return absl::OkStatus();
}

void Listener::Accept() {
  acceptor_.async_accept(net::make_strand(io_), [this](error_code error, Socket socket) {
    if (context_.stopping) return;
    if (!error) {
      Admit(std::move(socket));
      Accept();
      return;
    }
    Warn(error);
    retry_.expires_after(kAcceptRetryDelay);
    retry_.async_wait([this](error_code error) {
      if (!error && !context_.stopping) Accept();
    });
  });
}

void Listener::Warn(const error_code& error) {
  const absl::Time now = absl::Now();
  if (now - last_warning_ < kAcceptWarningPeriod) return;
  last_warning_ = now;
  spdlog::warn("accepting a connection failed, trying again every {}: {}",
               absl::FormatDuration(absl::FromChrono(kAcceptRetryDelay)), error.message());
}

void Listener::Admit(Socket socket) {
  absl::MutexLock lock(&mu_);
  // Also those that are being refused hold a descriptor: past twice the limit they get no answer.
  const int64_t open = static_cast<int64_t>(sessions_.size());
  const int64_t limit = context_.config.limits.max_connections;
  if (context_.stopping || open >= 2 * limit) return;
  const uint64_t id = next_session_++;
  sessions_[id] = Session::Start(std::move(socket), tls_, &context_, open >= limit, [this, id] {
    absl::MutexLock lock(&mu_);
    sessions_.erase(id);
  });
}

std::vector<std::shared_ptr<Session>> Listener::OpenSessions() {
  std::vector<std::shared_ptr<Session>> open;
  absl::MutexLock lock(&mu_);
  for (const auto& [id, session] : sessions_) {
    if (std::shared_ptr<Session> alive = session.lock()) open.push_back(std::move(alive));
  }
  return open;
}

bool Listener::WaitForSessions(absl::Duration limit) {
  absl::MutexLock lock(&mu_);
  const auto none_left = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return sessions_.empty(); };
  return mu_.AwaitWithTimeout(absl::Condition(&none_left), limit);
}

absl::Status Listener::Shutdown(absl::Duration limit) {
  absl::MutexLock lock(&shutdown_mu_);
  if (shutdown_result_.has_value()) return *shutdown_result_;
  context_.stopping = true;
  if (owns_unix_path_) unlink(context_.config.unix_path.c_str());
  net::post(acceptor_.get_executor(), [this] {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  });
  for (const std::shared_ptr<Session>& session : OpenSessions()) session->CloseWhenIdle();
  shutdown_result_ = absl::OkStatus();
  if (WaitForSessions(limit)) return *shutdown_result_;

  const std::vector<std::shared_ptr<Session>> left = OpenSessions();
  for (const std::shared_ptr<Session>& session : left) session->CloseNow();
  WaitForSessions(kCancelTime);
  shutdown_result_ = absl::DeadlineExceededError(absl::StrCat(left.size(), " HTTP connections were still open after ",
                                                              absl::FormatDuration(limit), " and were closed"));
  return *shutdown_result_;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config, Handler handler, ErrorBody error,
                                                      ReportSink on_refused) {
  auto listener = std::make_unique<Listener>(config, std::move(handler), error, std::move(on_refused));
  if (absl::Status status = listener->Listen(); !status.ok()) return status;
  return listener;
}

}  // namespace switchyard::http
