// The HTTP server's edge: TLS, unix sockets, other origins, limits, and what is reported of requests.
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/http/router.h"
#include "server/http/server.h"
#include "tests/server/http_client.h"
#include "tests/server/tls_files.h"

namespace switchyard::http {
namespace {

std::string PlainError(int status, std::string_view message) { return absl::StrCat(status, " ", std::string(message)); }

// A stream that never ends by itself, and reports how it ended.
class Endless : public Answer {
 public:
  explicit Endless(ReportSink sink) : sink_(std::move(sink)) {}
  std::optional<Response> Head() override { return Response{.content_type = "text/plain", .stream = true}; }
  bool Read(std::string* out) override {
    if (!std::exchange(begun_, true)) *out = "first";
    return true;
  }
  void Cancel() override {}
  void OnEnd(const Report& report) override { sink_(report); }

 private:
  const ReportSink sink_;
  bool begun_ = false;
};

class Echo : public ReadyAnswer {
 public:
  Echo(std::string body, ReportSink sink)
      : ReadyAnswer(Response{.content_type = "text/plain", .body = std::move(body)}), sink_(std::move(sink)) {}
  void OnEnd(const Report& report) override { sink_(report); }

 private:
  const ReportSink sink_;
};

class HttpEdge : public testing::Test {
 protected:
  void Start(ServerConfig config = {}) {
    config.port = 0;
    const ReportSink sink = [this](const Report& report) {
      absl::MutexLock lock(&mu_);
      reports_.push_back(report);
    };
    auto server = Server::Start(
        config,
        [sink](const Request& request, const Waker&) -> std::unique_ptr<Answer> {
          if (request.path == "/endless") return std::make_unique<Endless>(sink);
          return std::make_unique<Echo>(absl::StrCat("hello ", request.client, request.body), sink);
        },
        PlainError, sink);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  Report NextReport() {
    absl::MutexLock lock(&mu_);
    const auto has_one = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !reports_.empty(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&has_one), absl::Seconds(120))) return {};
    Report report = reports_.front();
    reports_.pop_front();
    return report;
  }

  absl::Mutex mu_;
  std::deque<Report> reports_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Server> server_;  // ends first
};

class HttpTls : public HttpEdge {
 protected:
  void StartTls() { Start({.tls_cert = files_.cert(), .tls_key = files_.key()}); }
  TlsFiles files_;
};

TEST_F(HttpTls, ServesRequestsStreamsAndBigBodies) {
  StartTls();
  HttpClient client(server_->port());
  ASSERT_TRUE(client.StartTls(files_.ca()));
  EXPECT_TRUE(absl::StartsWith(client.Get("/a").body, "hello 127.0.0.1:"));
  // While an answer is being made the connection is read from; afterwards nothing of that may be lost.
  const std::string body(1 << 20, 'x');
  for (int i = 0; i < 3; ++i) EXPECT_GT(client.Post("/b", body).body.size(), body.size());
  client.Send("GET /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.ReadReply().status, 200);
  EXPECT_EQ(client.ReadReply().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpTls, NoticesThatTheClientOfAStreamIsGone) {
  StartTls();
  HttpClient client(server_->port());
  ASSERT_TRUE(client.StartTls(files_.ca()));
  client.SendRequest("GET", "/endless");
  EXPECT_TRUE(absl::EndsWith(client.ReadUntil("first"), "first"));
  client.Close();
  EXPECT_FALSE(NextReport().complete);
}

TEST_F(HttpTls, RefusesOldVersionsAndPlainText) {
  StartTls();
  HttpClient old(server_->port());
  EXPECT_FALSE(old.StartTls(files_.ca(), TLS1_1_VERSION));
  HttpClient modern(server_->port());
  EXPECT_TRUE(modern.StartTls(files_.ca(), TLS1_2_VERSION));
  HttpClient plain(server_->port());
  EXPECT_EQ(plain.Get("/a").status, 0);
}

TEST_F(HttpTls, ReloadsItsCertificateForNewConnections) {
  StartTls();
  HttpClient before(server_->port());
  ASSERT_TRUE(before.StartTls(files_.ca()));
  files_.Renew();
  EXPECT_TRUE(server_->ReloadTls().ok());
  HttpClient after(server_->port());
  EXPECT_TRUE(after.StartTls(files_.ca()));
  EXPECT_EQ(before.Get("/a").status, 200);

  std::ofstream(files_.cert()) << "broken";
  const absl::Status broken = server_->ReloadTls();
  EXPECT_EQ(broken.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(broken.message(), files_.cert())) << broken;
  HttpClient still(server_->port());
  EXPECT_TRUE(still.StartTls(files_.ca()));
}

TEST_F(HttpTls, LosesPatienceWithHandshakesThatDoNotEnd) {
  Start({.tls_cert = files_.cert(), .tls_key = files_.key(), .limits = {.header_timeout = absl::Milliseconds(50)}});
  HttpClient client(server_->port());
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpTls, DoesNotStartWithAKeyOfAnotherCertificate) {
  const auto server =
      Server::Start({.port = 0, .tls_cert = files_.cert(), .tls_key = files_.client_key()}, nullptr, PlainError);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(server.status().message(), "--tls-key")) << server.status();
}

class HttpUnixSocket : public HttpEdge {
 protected:
  HttpUnixSocket() : path_(files_.path("http.sock")) {}
  TlsFiles files_;  // for its directory
  const std::string path_;
};

TEST_F(HttpUnixSocket, ServesThisUserAloneAndCleansUp) {
  Start({.unix_path = path_});
  struct stat found {};
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  EXPECT_EQ(HttpClient(path_).Get("/a").body, "hello unix");
  EXPECT_EQ(NextReport().client, "unix");
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(HttpUnixSocket, ReplacesAStaleSocketButNoLiveOneAndNoFile) {
  const int stale = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(stale);
  Start({.unix_path = path_});
  const auto second = Server::Start({.unix_path = path_}, nullptr, PlainError);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(absl::StrContains(second.status().message(), "another server listens")) << second.status();
  EXPECT_EQ(HttpClient(path_).Get("/a").status, 200);

  const std::string file = files_.path("file");
  std::ofstream(file) << "precious";
  EXPECT_EQ(Server::Start({.unix_path = file}, nullptr, PlainError).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadText(file), "precious");
  EXPECT_EQ(Server::Start({.unix_path = files_.path("no/dir")}, nullptr, PlainError).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(HttpEdge, AnswersPreflightsItselfAndMarksAnswers) {
  Start({.cors_origins = {"https://a"}});
  HttpClient client(server_->port());
  client.SendRequest("OPTIONS", "/v1/chat/completions", "",
                     "Origin: https://a\r\nAccess-Control-Request-Method: POST\r\n");
  const HttpReply preflight = client.ReadReply();
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.at("access-control-allow-origin"), "https://a");
  EXPECT_EQ(preflight.headers.at("access-control-allow-methods"), "GET, POST, OPTIONS");
  EXPECT_EQ(client.Get("/a", "Origin: https://a\r\n").headers.at("access-control-allow-origin"), "https://a");
  EXPECT_EQ(client.Get("/a", "Origin: https://b\r\n").headers.count("access-control-allow-origin"), 0u);
  Start();
  EXPECT_EQ(HttpClient(server_->port()).Get("/a", "Origin: https://a\r\n").headers.count("vary"), 0u);
}

TEST_F(HttpEdge, LimitsHeaderLines) {
  Start({.limits = {.max_headers = 10}});
  std::string lines;
  for (int i = 0; i < 9; ++i) lines += "X: y\r\n";
  HttpClient client(server_->port());
  EXPECT_EQ(client.Get("/a", lines).status, 200);  // with Host
  const HttpReply refused = client.Get("/a", lines + "X: y\r\n");
  EXPECT_EQ(refused.status, 431);
  EXPECT_TRUE(absl::StrContains(refused.body, "has 11 header lines, more than 10 (--http-max-headers)"));
}

TEST_F(HttpEdge, LimitsTheMemoryOfAllBodiesTogether) {
  Start({.limits = {.max_body_memory = 100'000}});
  HttpReply refused, completed;
  // Of the two the one that is read later is refused: again, until it is the one that is sent later.
  for (const absl::Time end = absl::Now() + absl::Seconds(120); completed.status != 200 && absl::Now() < end;) {
    HttpClient first(server_->port());
    first.Send("POST /a HTTP/1.1\r\nContent-Length: 80001\r\n\r\n" + std::string(80'000, 'x'));
    refused = HttpClient(server_->port()).Post("/a", std::string(90'000, 'x'));
    if (refused.status != 503) continue;
    first.Send("x");
    completed = first.ReadReply();
  }
  EXPECT_EQ(completed.status, 200);
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(absl::StrContains(refused.body, "--http-max-body-memory"));
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(HttpClient(server_->port()).Post("/a", std::string(90'000, 'x')).status, 200);
}

TEST_F(HttpEdge, ReportsRequestsAndRefusals) {
  Start();
  HttpClient client(server_->port());
  const HttpReply reply = client.Post("/a?secret", "body", "x-request-id: mine\r\n");
  const Report served = NextReport();
  EXPECT_EQ(served.id, "mine");
  EXPECT_EQ(served.method, "POST");
  EXPECT_EQ(served.path, "/a");
  EXPECT_EQ(served.status, 200);
  EXPECT_TRUE(served.complete);
  EXPECT_GT(served.bytes, reply.body.size());
  EXPECT_GE(served.duration, served.time_to_first_byte);
  EXPECT_TRUE(absl::StartsWith(served.client, "127.0.0.1:"));

  client.Send("nonsense\r\n\r\n");
  EXPECT_EQ(client.ReadReply().status, 400);
  const Report refused = NextReport();
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.path, "");
  EXPECT_EQ(refused.id.size(), 32u);
}

TEST_F(HttpEdge, ASlowBodyIsRefusedHoweverSteadilyItDrips) {
  Start({.limits = {.body_timeout = absl::Milliseconds(200)}});
  HttpClient client(server_->port());
  client.Send("POST /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
  std::thread drip([&client] {
    for (int i = 0; i < 20 && client.Send("x"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  EXPECT_EQ(client.ReadReply().status, 408);
  drip.join();
}

}  // namespace
}  // namespace switchyard::http
