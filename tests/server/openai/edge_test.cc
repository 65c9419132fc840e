// Keys with limits, the access log and traces, as clients of the OpenAI API and their operators meet them.
#include <algorithm>
#include <map>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/access/key_file.h"
#include "server/openai/errors.h"
#include "tests/server/openai/api_fixture.h"
#include "tests/server/tls_files.h"

namespace switchyard::openai {
namespace {

class ApiEdge : public ApiTest {
 protected:
  void MakeEdge(const std::string& keys, TelemetryConfig records = {}) {
    std::vector<ApiKey> parsed;
    if (!keys.empty()) parsed = *ParseKeys(keys, "keys", {});
    edge_ = std::make_unique<Edge>(parsed, *Telemetry::Create(records));
  }
  HttpReply PostAs(const std::string& key, const json& body, const std::string& head = "") {
    return HttpClient(server_->port())
        .Post("/v1/completions", body.dump(), "Authorization: Bearer " + key + "\r\n" + head);
  }
  // Ends the server, then the edge, whose last lines are then written.
  void Finish() {
    server_.reset();
    engine_->WaitForInFlight(0);
    engine_.reset();
    edge_ = std::make_unique<Edge>();
  }

  TlsFiles files_;  // for its directory
};

TEST_F(ApiEdge, RefusesAKeyOverItsConcurrencyUntilARequestEnds) {
  MakeEdge("team:one max-concurrent=1\nother:two");
  Serve({.hold = true});
  HttpClient first(server_->port());
  first.SendRequest("POST", "/v1/completions", R"({"prompt": "hi", "stream": true})", "Authorization: Bearer one\r\n");
  engine_->WaitForSubmitted(1);
  const HttpReply refused = PostAs("one", {{"prompt", "hi"}});
  const json error = ErrorOf(refused, 429);
  EXPECT_EQ(error["code"], "rate_limit_exceeded");
  EXPECT_EQ(error["type"], "rate_limit_error");
  EXPECT_TRUE(absl::StrContains(error["message"].get<std::string>(), "1 is its limit")) << error;
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  engine_->Release();
  EXPECT_EQ(first.ReadReply().status, 200);
  EXPECT_EQ(PostAs("two", {{"prompt", "hi"}}).status, 200);
  // The first request's part is free once the engine has let go of it.
  engine_->WaitForInFlight(0);
  HttpReply again;
  for (const absl::Time end = absl::Now() + absl::Seconds(120); again.status != 200 && absl::Now() < end;) {
    again = PostAs("one", {{"prompt", "hi"}});
  }
  EXPECT_EQ(again.status, 200);
}

TEST_F(ApiEdge, AClientThatVanishesFreesItsPlace) {
  MakeEdge("team:one max-concurrent=1");
  Serve({.hold = true});
  {
    HttpClient gone(server_->port());
    gone.SendRequest("POST", "/v1/completions", R"({"prompt": "hi", "stream": true})", "Authorization: Bearer one\r\n");
    engine_->WaitForSubmitted(1);
  }
  engine_->WaitForInFlight(0);
  engine_->Release();
  HttpReply again;
  for (const absl::Time end = absl::Now() + absl::Seconds(120); again.status != 200 && absl::Now() < end;) {
    again = PostAs("one", {{"prompt", "hi"}});
  }
  EXPECT_EQ(again.status, 200);
}

TEST_F(ApiEdge, CountsTokensByKeyAndSaysWhenToRetry) {
  MakeEdge("team:one tokens-per-minute=2");
  Serve();
  EXPECT_EQ(PostAs("one", {{"prompt", "hi"}, {"n", 2}}).status, 200);  // 3 + 2 x 14
  const HttpReply refused = PostAs("one", {{"prompt", "hi"}});
  EXPECT_TRUE(absl::StrContains(ErrorOf(refused, 429)["message"].get<std::string>(), "may use 2 tokens a minute"));
  EXPECT_GT(std::stoi(refused.headers.at("retry-after")), 30);
  const std::string metrics = HttpClient(server_->port()).Get("/metrics", "Authorization: Bearer one\r\n").body;
  for (const char* line : {R"(switchyard:key_requests_total{model_name="fake",key="team"} 1)",
                           R"(switchyard:key_requests_refused_total{model_name="fake",key="team",limit="tokens"} 1)",
                           R"(switchyard:key_tokens_total{model_name="fake",key="team",of="prompt"} 3)",
                           R"(switchyard:key_tokens_total{model_name="fake",key="team",of="generation"} 28)"}) {
    EXPECT_TRUE(absl::StrContains(metrics, line)) << line << "\n" << metrics;
  }
}

TEST_F(ApiEdge, WritesOneLineForEachRequestAndNeverItsText) {
  const std::string log = files_.path("access.log");
  MakeEdge("team:topsecret", {.access_log = log});
  Serve();
  const std::string trace_id = "0af7651916cd43dd8448eb211c80319c";
  PostAs("topsecret", {{"prompt", "private"}, {"stream", true}},
         "x-request-id: mine\r\ntraceparent: 00-" + trace_id + "-b7ad6b7169203331-01\r\n");
  PostAs("wrong", {{"prompt", "private"}});
  HttpClient(server_->port()).Get("/health?private");
  HttpClient broken(server_->port());
  broken.Send("private\r\n\r\n");
  broken.ReadReply();
  Finish();
  const std::string text = ReadText(log);
  EXPECT_FALSE(absl::StrContains(text, "private"));
  EXPECT_FALSE(absl::StrContains(text, "secret"));
  std::istringstream stream(text);
  std::vector<json> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  ASSERT_EQ(lines.size(), 4u) << text;
  // Requests of different connections are written in any order.
  std::sort(lines.begin(), lines.end(), [](const json& a, const json& b) { return a["status"] < b["status"]; });
  if (lines[0]["path"] == "/health") std::swap(lines[0], lines[1]);
  EXPECT_EQ(lines[0]["path"], "/v1/completions");
  EXPECT_EQ(lines[0]["status"], 200);
  EXPECT_EQ(lines[0]["complete"], true);
  EXPECT_EQ(lines[0]["request_id"], "mine");
  EXPECT_EQ(lines[0]["key"], "team");
  EXPECT_EQ(lines[0]["prompt_tokens"], 8);
  EXPECT_EQ(lines[0]["completion_tokens"], 14);
  EXPECT_EQ(lines[0]["trace_id"], trace_id);
  EXPECT_EQ(lines[1]["path"], "/health");
  EXPECT_EQ(lines[2]["status"], 400);
  EXPECT_EQ(lines[3]["status"], 401);
  EXPECT_TRUE(lines[3]["key"].is_null());
}

TEST_F(ApiEdge, ExportsARequestWithItsPhasesByTheGenAiConventions) {
  absl::Mutex mu;
  std::vector<json> spans;
  auto collector = *http::Server::Start(
      {.port = 0},
      [&](const http::Request& request, const http::Waker&) {
        absl::MutexLock lock(&mu);
        const json body = json::parse(request.body);
        for (const json& span : body["resourceSpans"][0]["scopeSpans"][0]["spans"]) spans.push_back(span);
        return std::make_unique<http::ReadyAnswer>(http::Response{});
      },
      HttpErrorBody);
  MakeEdge("", {.spans = SpanExporterConfig{
                    .collector = {.host = "127.0.0.1", .port = collector->port(), .path = "/v1/traces"},
                    .limit = absl::Seconds(120)}});
  Serve();
  HttpClient client(server_->port());
  client.Post("/v1/completions", R"({"prompt": "hi", "max_tokens": 5, "temperature": 0})",
              "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n");
  client.Get("/health");  // a probe is no trace
  client.Close();
  Finish();
  absl::MutexLock lock(&mu);
  ASSERT_EQ(spans.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(spans[i]["name"], (std::vector{"queue", "prefill", "decode"}[i]));
  EXPECT_EQ(spans[0]["endTimeUnixNano"], spans[1]["startTimeUnixNano"]);
  EXPECT_EQ(spans[1]["endTimeUnixNano"], spans[2]["startTimeUnixNano"]);
  const json& request = spans.back();
  EXPECT_EQ(request["name"], "text_completion fake");
  EXPECT_EQ(request["kind"], 2);
  EXPECT_EQ(request["traceId"], "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(request["parentSpanId"], "b7ad6b7169203331");
  std::map<std::string, json> attributes;
  for (const json& attribute : request["attributes"]) attributes[attribute["key"]] = attribute["value"];
  EXPECT_EQ(attributes["gen_ai.operation.name"]["stringValue"], "text_completion");
  EXPECT_EQ(attributes["gen_ai.request.model"]["stringValue"], "fake");
  EXPECT_EQ(attributes["gen_ai.request.max_tokens"]["intValue"], "5");
  EXPECT_EQ(attributes["gen_ai.usage.input_tokens"]["intValue"], "3");
  EXPECT_EQ(attributes["gen_ai.usage.output_tokens"]["intValue"], "5");
  EXPECT_EQ(attributes["gen_ai.response.finish_reasons"]["arrayValue"]["values"][0]["stringValue"], "length");
  EXPECT_EQ(attributes["http.response.status_code"]["intValue"], "200");
  for (size_t i = 0; i + 1 < spans.size(); ++i) {
    EXPECT_EQ(spans[i]["parentSpanId"], request["spanId"]);
    EXPECT_EQ(spans[i]["traceId"], request["traceId"]);
  }
}

}  // namespace
}  // namespace switchyard::openai
