// Sockets, limits, keep-alive: with handlers of the test's own.
#include "server/http/server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "server/http/router.h"
#include "server/http/sse.h"
#include "tests/server/http_client.h"

namespace switchyard::http {
namespace {

std::string PlainError(int status, std::string_view message) {
  return std::to_string(status) + " " + std::string(message);
}

// A stream of the pieces given, one for each Read.
class Pieces : public Answer {
 public:
  explicit Pieces(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::optional<Response> Head() override { return Response{.content_type = "text/plain", .stream = true}; }
  bool Read(std::string* out) override {
    *out = pieces_[next_++];
    return next_ < pieces_.size();
  }
  void Cancel() override {}

 private:
  std::vector<std::string> pieces_;
  size_t next_ = 0;
};

class Throwing : public Answer {
 public:
  std::optional<Response> Head() override { throw std::runtime_error("broken"); }
  bool Read(std::string* out) override { return false; }
  void Cancel() override {}
};

class HttpServer : public testing::Test {
 protected:
  void Start(ServerConfig config = {}) {
    config.port = 0;
    router_.Add("GET", "/hello", [](const Request& request, Waker) {
      return std::make_unique<ReadyAnswer>(Response{.content_type = "text/plain", .body = "hello " + request.query});
    });
    router_.Add("POST", "/echo", [](const Request& request, Waker) {
      return std::make_unique<ReadyAnswer>(Response{.content_type = "text/plain", .body = request.body});
    });
    router_.Add("GET", "/pieces", [](const Request&, Waker) {
      return std::make_unique<Pieces>(std::vector<std::string>{"one", "three"});
    });
    router_.Add("GET", "/throws", [](const Request&, Waker) { return std::make_unique<Throwing>(); });
    router_.Add("GET", "/handler-throws",
                [](const Request&, Waker) -> std::unique_ptr<Answer> { throw std::runtime_error("broken"); });
    auto server = Server::Start(
        config, [this](const Request& request, Waker waker) { return router_.Dispatch(request, std::move(waker)); },
        PlainError);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }

  Router router_{PlainError};
  std::unique_ptr<Server> server_;
};

TEST_F(HttpServer, KeepsConnectionsAliveAndClosesThemWhenAsked) {
  Start();
  HttpClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    const HttpReply reply = client.Get("/hello?you");
    EXPECT_EQ(reply.body, "hello you");
    EXPECT_EQ(reply.headers.at("connection"), "keep-alive");
  }
  EXPECT_EQ(client.Get("/hello", "Connection: close\r\n").headers.at("connection"), "close");
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpServer, AnswersPipelinedRequestsInOrder) {
  Start();
  HttpClient client(server_->port());
  std::string requests;
  for (int i = 0; i < 20; ++i) {
    requests += "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n" + std::to_string(10 + i);
    requests += "GET /pieces HTTP/1.1\r\n\r\n";
  }
  client.Send(requests);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.ReadReply().body, std::to_string(10 + i));
    EXPECT_EQ(client.ReadReply().chunks, (std::vector<std::string>{"one", "three"}));
  }
}

TEST_F(HttpServer, TakesChunkedBodiesAndExpectations) {
  Start();
  HttpClient client(server_->port());
  client.Send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(client.ReadReply().body, "abcde");
  client.Send("POST /echo HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("xyz");
  EXPECT_EQ(client.ReadReply().body, "xyz");
}

TEST_F(HttpServer, EchoesUsableRequestIdsAndMakesOthers) {
  Start();
  HttpClient client(server_->port());
  EXPECT_EQ(client.Get("/hello", "X-Request-Id: abc-7\r\n").headers.at("x-request-id"), "abc-7");
  const std::string made = client.Get("/hello").headers.at("x-request-id");
  EXPECT_EQ(made.size(), 32u);
  EXPECT_NE(client.Get("/hello").headers.at("x-request-id"), made);
  EXPECT_EQ(client.Get("/hello", "x-request-id: a b\r\n").headers.at("x-request-id").size(), 32u);
}

TEST_F(HttpServer, KnowsPathsMethodsHeadAndOptions) {
  Start();
  HttpClient client(server_->port());
  EXPECT_EQ(client.Get("/nowhere").status, 404);
  const HttpReply wrong_method = client.Post("/hello", "x");
  EXPECT_EQ(wrong_method.status, 405);
  EXPECT_EQ(wrong_method.headers.at("allow"), "GET, HEAD, OPTIONS");
  client.SendRequest("HEAD", "/hello");
  const HttpReply head = client.ReadReply(/*head_only=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "6");
  client.SendRequest("OPTIONS", "/echo");
  const HttpReply options = client.ReadReply();
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("allow"), "OPTIONS, POST");
  EXPECT_EQ(client.Get("/hello").status, 200);
}

TEST_F(HttpServer, AnswersMalformedHttpWith400) {
  Start();
  for (const std::string garbage :
       {"\x16\x03\x01\x02hello\r\n\r\n", "GET /hello\r\n\r\n", "GET /hello HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "POST /echo HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"}) {
    HttpClient client(server_->port());
    client.Send(garbage);
    const HttpReply reply = client.ReadReply();
    EXPECT_EQ(reply.status, 400) << garbage;
    EXPECT_EQ(reply.body.substr(0, 4), "400 ");
    EXPECT_TRUE(client.AtEnd());
  }
}

TEST_F(HttpServer, RefusesHugeHeaders) {
  Start({.limits = {.max_header_bytes = 1000}});
  HttpClient one_line(server_->port());
  one_line.Send("GET /hello HTTP/1.1\r\nX: " + std::string(200'000, 'x'));
  EXPECT_EQ(one_line.ReadReply().status, 431);
  HttpClient many_lines(server_->port());
  std::string lines;
  for (int i = 0; i < 10'000; ++i) lines += "X: y\r\n";
  many_lines.Send("GET /hello HTTP/1.1\r\n" + lines);
  EXPECT_EQ(many_lines.ReadReply().status, 431);
}

TEST_F(HttpServer, RefusesHugeBodiesDeclaredOrNot) {
  Start({.limits = {.max_body_bytes = 1000}});
  HttpClient fits(server_->port());
  EXPECT_EQ(fits.Post("/echo", std::string(1000, 'x')).body.size(), 1000u);
  HttpClient declared(server_->port());
  declared.Send("POST /echo HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n");
  EXPECT_EQ(declared.ReadReply().status, 413);
  HttpClient sent(server_->port());
  EXPECT_EQ(sent.Post("/echo", std::string(300'000, 'x')).status, 413);
  HttpClient chunked(server_->port());
  chunked.Send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 11; ++i) chunked.Send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(chunked.ReadReply().status, 413);
}

TEST_F(HttpServer, LosesPatienceWithSlowSenders) {
  Start({.limits = {.header_timeout = absl::Milliseconds(50), .body_timeout = absl::Milliseconds(50)}});
  HttpClient header(server_->port());
  header.Send("GET /hello HTTP/1.1\r\nX:");
  EXPECT_EQ(header.ReadReply().status, 408);
  EXPECT_TRUE(header.AtEnd());
  HttpClient body(server_->port());
  body.Send("POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(body.ReadReply().status, 408);
  EXPECT_TRUE(body.AtEnd());
}

TEST_F(HttpServer, ClosesIdleConnections) {
  Start({.limits = {.idle_timeout = absl::Milliseconds(50)}});
  // One that this machine holds up before its first request is idle, too: then another comes.
  int status = 0;
  for (const absl::Time end = absl::Now() + absl::Seconds(120); status != 200 && absl::Now() < end;) {
    HttpClient client(server_->port());
    status = client.Get("/hello").status;
    EXPECT_TRUE(client.AtEnd());
  }
  EXPECT_EQ(status, 200);
}

TEST_F(HttpServer, RefusesConnectionsBeyondItsLimit) {
  Start({.limits = {.max_connections = 1}});
  HttpClient first(server_->port());
  EXPECT_EQ(first.Get("/hello").status, 200);
  HttpClient second(server_->port());
  const HttpReply refused = second.ReadReply();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(first.Get("/hello").status, 200);
}

TEST_F(HttpServer, TurnsExceptionsInto500) {
  Start();
  HttpClient client(server_->port());
  EXPECT_EQ(client.Get("/throws").status, 500);
  HttpClient other(server_->port());
  EXPECT_EQ(other.Get("/handler-throws").status, 500);
}

TEST_F(HttpServer, StopsIdleConnectionsAndTakesNoNewOnes) {
  Start();
  HttpClient idle(server_->port());
  EXPECT_EQ(idle.Get("/hello").status, 200);
  EXPECT_TRUE(server_->Shutdown(absl::Seconds(60)).ok());
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_EQ(server_->num_connections(), 0);
}

TEST_F(HttpServer, SaysThatAPortIsTaken) {
  Start();
  const auto second = Server::Start({.port = server_->port()}, nullptr, PlainError);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(second.status().message().find(std::to_string(server_->port())), std::string::npos);
  EXPECT_EQ(Server::Start({.host = "256.0.0.1"}, nullptr, PlainError).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Sse, WritesADataLineForEachLine) {
  std::string out;
  AppendEvent("one", &out);
  AppendEvent("two\nthree", &out);
  EXPECT_EQ(out, "data: one\n\ndata: two\ndata: three\n\n");
}

TEST(PercentDecode, KeepsWhatIsNoEscape) {
  EXPECT_EQ(PercentDecode("a%2Fb%2fc%"), "a/b/c%");
  EXPECT_EQ(PercentDecode("%zz%4"), "%zz%4");
}

}  // namespace
}  // namespace switchyard::http
