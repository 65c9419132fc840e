// The whole HTTP front end over a FakeEngine, on a free port of 127.0.0.1.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "server/engine_slot.h"
#include "server/openai/api.h"
#include "tests/server/fake_engine.h"
#include "tests/server/http_client.h"

namespace switchyard::openai {

class ApiTest : public testing::Test {
 protected:
  using json = nlohmann::json;

  // Serves a new engine; call once per test.
  void Serve(FakeEngine::Options options = {}, ApiConfig config = {}) {
    engine_ = std::make_unique<FakeEngine>(std::move(options));
    slot_.Serve(engine_.get());
    Listen(std::move(config));
  }
  // Only the server: the model is still loading.
  void Listen(ApiConfig config = {}) {
    config.http.port = 0;
    auto server = StartServer(config, &slot_, edge_.get());
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }
  HttpReply Post(const std::string& path, const json& body) {
    return HttpClient(server_->port()).Post(path, body.dump());
  }
  HttpReply Get(const std::string& path) { return HttpClient(server_->port()).Get(path); }

  // A reply of 200, parsed.
  json Ask(const std::string& path, const json& body) {
    const HttpReply reply = Post(path, body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  }
  // The `error` of a reply, which must have this status and all four members.
  json ErrorOf(const HttpReply& reply, int status) {
    EXPECT_EQ(reply.status, status) << reply.body;
    const json body = json::parse(reply.body, nullptr, false);
    EXPECT_TRUE(body.is_object() && body.size() == 1 && body.contains("error")) << reply.body;
    const json error = body.is_object() ? body.value("error", json::object()) : json::object();
    for (const char* member : {"message", "type", "param", "code"}) EXPECT_TRUE(error.contains(member)) << reply.body;
    return error;
  }
  // The events of a stream that came to its end, parsed; [DONE] must be the last and is left out.
  std::vector<json> ChunksOf(const HttpReply& reply) {
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_TRUE(reply.complete);
    std::vector<std::string> events = EventsOf(reply.body);
    std::vector<json> chunks;
    if (events.empty() || events.back() != "[DONE]") {
      ADD_FAILURE() << "no [DONE] at the end of " << reply.body;
      return chunks;
    }
    events.pop_back();
    for (const std::string& event : events) chunks.push_back(json::parse(event, nullptr, false));
    return chunks;
  }

  std::unique_ptr<Edge> edge_ = std::make_unique<Edge>();
  std::unique_ptr<FakeEngine> engine_;
  EngineSlot slot_{"fake"};
  std::unique_ptr<http::Server> server_;  // ends first
};

}  // namespace switchyard::openai
