// Access log and span export: to real files, and to a collector over real sockets.
#include "server/telemetry/telemetry.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/http/server.h"
#include "server/telemetry/otlp_json.h"
#include "tests/server/tls_files.h"

namespace switchyard {
namespace {

using nlohmann::json;

bool Eventually(const std::function<bool()>& condition) {
  const absl::Time end = absl::Now() + absl::Seconds(120);
  while (!condition() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(2));
  return condition();
}

// Takes what is posted to it.
class Collector {
 public:
  explicit Collector(int status = 200) {
    server_ = *http::Server::Start(
        {.port = 0},
        [this, status](const http::Request& request, const http::Waker&) {
          absl::MutexLock lock(&mu_);
          path_ = request.path;
          bodies_.push_back(request.body);
          return std::make_unique<http::ReadyAnswer>(http::Response{.status = status, .body = "{}"});
        },
        [](int, std::string_view message) { return std::string(message); });
  }
  SpanExporterConfig Config() const {
    return {.collector = {.host = "127.0.0.1", .port = server_->port(), .path = "/v1/traces"},
            .period = absl::Milliseconds(10),
            .limit = absl::Seconds(120)};
  }
  std::vector<std::string> bodies() {
    absl::MutexLock lock(&mu_);
    return bodies_;
  }
  std::string path() {
    absl::MutexLock lock(&mu_);
    return path_;
  }

 private:
  absl::Mutex mu_;
  std::string path_;
  std::vector<std::string> bodies_;
  std::unique_ptr<http::Server> server_;  // ends first
};

Span SpanOf(const std::string& name) {
  return {.trace_id = std::string(32, 'a'),
          .span_id = std::string(16, 'b'),
          .name = name,
          .is_server = true,
          .begin = absl::FromUnixNanos(1'000'000'007),
          .end = absl::FromUnixNanos(2'000'000'007),
          .attributes = {{"text", std::string("x")},
                         {"number", int64_t{5}},
                         {"real", 0.5},
                         {"list", std::vector<std::string>{"stop"}}},
          .error = "status 500"};
}

TEST(OtlpJson, WritesWhatCollectorsRead) {
  const json request = json::parse(ToOtlpJson({SpanOf("chat tiny")}));
  const json& resource = request["resourceSpans"][0];
  EXPECT_EQ(resource["resource"]["attributes"][0]["key"], "service.name");
  EXPECT_EQ(resource["resource"]["attributes"][0]["value"]["stringValue"], "switchyard");
  const json& span = resource["scopeSpans"][0]["spans"][0];
  EXPECT_EQ(span["traceId"], std::string(32, 'a'));
  EXPECT_EQ(span["spanId"], std::string(16, 'b'));
  EXPECT_FALSE(span.contains("parentSpanId"));
  EXPECT_EQ(span["name"], "chat tiny");
  EXPECT_EQ(span["kind"], 2);
  EXPECT_EQ(span["startTimeUnixNano"], "1000000007");
  EXPECT_EQ(span["endTimeUnixNano"], "2000000007");
  EXPECT_EQ(span["attributes"][0]["value"]["stringValue"], "x");
  EXPECT_EQ(span["attributes"][1]["value"]["intValue"], "5");
  EXPECT_EQ(span["attributes"][2]["value"]["doubleValue"], 0.5);
  EXPECT_EQ(span["attributes"][3]["value"]["arrayValue"]["values"][0]["stringValue"], "stop");
  EXPECT_EQ(span["status"]["code"], 2);
}

TEST(SpanExporter, SendsBatchesAndTheRestWhenItEnds) {
  Collector collector;
  {
    SpanExporter exporter(collector.Config());
    exporter.Export(SpanOf("one"));
    EXPECT_TRUE(Eventually([&] { return exporter.exported() == 1; }));
    exporter.Export(SpanOf("two"));
  }
  ASSERT_EQ(collector.bodies().size(), 2u);
  EXPECT_EQ(collector.path(), "/v1/traces");
  EXPECT_NE(collector.bodies()[1].find("\"two\""), std::string::npos);
}

TEST(SpanExporter, CountsWhatACollectorRefusesOrNobodyTakes) {
  Collector refusing(503);
  SpanExporter exporter(refusing.Config());
  exporter.Export(SpanOf("one"));
  EXPECT_TRUE(Eventually([&] { return exporter.dropped() == 1; }));

  SpanExporterConfig nobody = refusing.Config();
  nobody.collector.port = 1;
  SpanExporter lost(nobody);
  lost.Export(SpanOf("one"));
  EXPECT_TRUE(Eventually([&] { return lost.dropped() == 1; }));
}

TEST(SpanExporter, NeverHoldsUpARequestHoweverManySpansWait) {
  // A collector that never answers: nothing is taken from the queue but one batch.
  Collector collector;
  SpanExporterConfig config = collector.Config();
  config.max_waiting = 10;
  config.period = absl::Seconds(60);
  SpanExporter exporter(config);
  for (int i = 0; i < 100; ++i) exporter.Export(SpanOf("one"));
  EXPECT_EQ(exporter.dropped(), 90u);
}

class AccessLogTest : public testing::Test {
 protected:
  std::vector<json> LinesOf(const std::string& path) {
    std::vector<json> lines;
    std::istringstream text(ReadText(path));
    for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
    return lines;
  }
  TlsFiles files_;  // for its directory
};

TEST_F(AccessLogTest, WritesALineForEachRequest) {
  const std::string path = files_.path("access.log");
  {
    auto telemetry = Telemetry::Create({.access_log = path});
    ASSERT_TRUE(telemetry.ok()) << telemetry.status();
    (*telemetry)
        ->Log({.begin = absl::FromUnixMillis(1'700'000'000'123),
               .protocol = "http",
               .method = "POST",
               .path = "/v1/completions",
               .status = 200,
               .complete = true,
               .bytes = 321,
               .duration = absl::Microseconds(1500),
               .time_to_first_byte = absl::Microseconds(500),
               .request_id = "abc",
               .client = "127.0.0.1:5",
               .key = "team-a",
               .trace_id = std::string(32, 'a'),
               .prompt_tokens = 7,
               .completion_tokens = 9});
    (*telemetry)->Log({.protocol = "grpc", .path = "/x\"\n" + std::string(1000, 'p'), .status = 16});
  }
  const std::vector<json> lines = LinesOf(path);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], json::parse(R"({"time": "2023-11-14T22:13:20.123Z", "protocol": "http", "method": "POST",
      "path": "/v1/completions", "status": 200, "complete": true, "bytes": 321, "duration_ms": 1.5,
      "time_to_first_byte_ms": 0.5, "request_id": "abc", "client": "127.0.0.1:5", "key": "team-a", "prompt_tokens": 7,
      "completion_tokens": 9, "trace_id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})"));
  EXPECT_EQ(lines[1]["path"].get<std::string>().size(), 256u);
  for (const char* unknown : {"method", "bytes", "key", "prompt_tokens", "trace_id", "time_to_first_byte_ms"}) {
    EXPECT_TRUE(lines[1][unknown].is_null()) << unknown;
  }
}

TEST_F(AccessLogTest, GoesOnInANewFileOnceTheOldOneWasMovedAway) {
  const std::string path = files_.path("access.log");
  const std::string old = files_.path("access.log.1");
  auto log = AccessLog::Open(path);
  ASSERT_TRUE(log.ok());
  (*log)->Write({.path = "/one"});
  EXPECT_TRUE(Eventually([&] { return !ReadText(path).empty(); }));
  std::filesystem::rename(path, old);
  ASSERT_TRUE((*log)->Reopen().ok());
  (*log)->Write({.path = "/two"});
  EXPECT_TRUE(Eventually([&] { return !ReadText(path).empty(); }));
  EXPECT_EQ(LinesOf(old).size(), 1u);
  EXPECT_EQ(LinesOf(path)[0]["path"], "/two");

  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_EQ((*log)->Reopen().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AccessLogTest, CountsTheLinesThatAFullDiskDrops) {
  auto log = AccessLog::Open("/dev/full");
  ASSERT_TRUE(log.ok());
  (*log)->Write({.path = "/one"});
  EXPECT_TRUE(Eventually([&] { return (*log)->dropped() == 1; }));
  EXPECT_EQ(AccessLog::Open("/no/such/directory/log").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Telemetry, MakesTracesOnlyWhereTheyAreExported) {
  const Telemetry off;
  EXPECT_EQ(off.TraceOf("").trace_id, "");
  const TraceContext given = off.TraceOf("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  EXPECT_EQ(given.trace_id, "0af7651916cd43dd8448eb211c80319c");  // for the access log
  EXPECT_FALSE(off.wants(given));

  Collector collector;
  const auto on = Telemetry::Create({.spans = collector.Config()});
  EXPECT_TRUE((*on)->wants((*on)->TraceOf("")));
  EXPECT_FALSE((*on)->wants((*on)->TraceOf("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")));
}

}  // namespace
}  // namespace switchyard
