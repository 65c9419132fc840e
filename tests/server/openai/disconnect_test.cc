// Clients that leave, and clients that do not read.
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

class Disconnect : public ApiTest {
 protected:
  static constexpr const char* kStream = R"({"prompt":"Hi","stream":true,"n":2})";
};

TEST_F(Disconnect, AbortsAStreamWhoseClientLeft) {
  Serve({.hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/completions", kStream);
  engine_->WaitForSubmitted(2);
  engine_->Step(1);
  client.ReadUntil("\n\n\r\n");
  client.Close();
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 2u);
}

TEST_F(Disconnect, AbortsAStreamBeforeItsFirstToken) {
  Serve({.hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/completions", kStream);
  engine_->WaitForSubmitted(2);
  client.Close();
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 2u);
}

TEST_F(Disconnect, AbortsARequestWhoseClientWaitedForTheWhole) {
  Serve({.hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/completions", R"({"prompt":["a","b","c"]})");
  engine_->WaitForSubmitted(3);
  client.Close();
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 3u);
}

TEST_F(Disconnect, LeavesOtherRequestsAlone) {
  Serve({.hold = true});
  HttpClient leaving(server_->port());
  HttpClient staying(server_->port());
  leaving.SendRequest("POST", "/v1/completions", R"({"prompt":"a"})");
  engine_->WaitForSubmitted(1);
  staying.SendRequest("POST", "/v1/completions", R"({"prompt":"b"})");
  engine_->WaitForSubmitted(2);
  leaving.Close();
  engine_->WaitForInFlight(1);
  engine_->Release();
  const HttpReply reply = staying.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(engine_->num_aborted(), 1u);
}

TEST_F(Disconnect, IsSeenAlsoWhenAnotherRequestWasPipelined) {
  Serve({.hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/completions", R"({"prompt":"a"})");
  engine_->WaitForSubmitted(1);
  client.SendRequest("GET", "/health");
  client.Close();
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 1u);
}

TEST_F(Disconnect, MergesWhatASlowReaderHasNotTaken) {
  const std::string output(100'000, 'x');
  ApiConfig config;
  config.http.socket_send_buffer = 4096;
  config.limits.merge_after_updates = 4;
  config.limits.max_pending_bytes = 1 << 30;
  Serve({.output = output, .max_model_len = 200'000}, config);
  HttpClient client(server_->port(), 4096);
  client.SendRequest("POST", "/v1/completions", R"({"prompt":"a","stream":true,"max_tokens":150000})");
  // Everything is generated while nothing is read.
  engine_->WaitForSubmitted(1);
  engine_->WaitForInFlight(0);
  const std::vector<json> chunks = ChunksOf(client.ReadReply());
  EXPECT_LT(chunks.size(), 50'000u);
  std::string text;
  for (const json& chunk : chunks) text += chunk["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(text, output);
}

TEST_F(Disconnect, AbortsARequestWhoseReaderIsFarBehind) {
  ApiConfig config;
  config.http.socket_send_buffer = 4096;
  config.limits.max_pending_bytes = 20'000;
  Serve({.output = std::string(1'000'000, 'x'), .max_model_len = 2'000'000}, config);
  HttpClient client(server_->port(), 4096);
  client.SendRequest("POST", "/v1/completions", R"({"prompt":"a","stream":true,"max_tokens":1500000})");
  engine_->WaitForSubmitted(1);
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 1u);
  const HttpReply reply = client.ReadReply();
  EXPECT_TRUE(reply.complete);
  const std::vector<std::string> events = EventsOf(reply.body);
  EXPECT_EQ(json::parse(events.back())["error"]["code"], "slow_reader");
}

TEST_F(Disconnect, DropsAReaderThatStalls) {
  ApiConfig config;
  config.http.socket_send_buffer = 4096;
  config.http.limits.write_timeout = absl::Milliseconds(50);
  config.limits.max_pending_bytes = 1 << 30;
  // Held after enough to fill every buffer: only the server's limit can end it.
  Serve({.output = std::string(1'000'000, 'x'), .max_model_len = 2'000'000, .hold = true}, config);
  HttpClient client(server_->port(), 4096);
  client.SendRequest("POST", "/v1/completions", R"({"prompt":"a","stream":true,"max_tokens":1500000})");
  engine_->WaitForSubmitted(1);
  engine_->Step(50'000);
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 1u);
}

TEST_F(Disconnect, OfTheServerCancelsWhatIsOpenAfterTheLimit) {
  Serve({.hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/completions", kStream);
  engine_->WaitForSubmitted(2);
  EXPECT_EQ(server_->Shutdown(absl::ZeroDuration()).code(), absl::StatusCode::kDeadlineExceeded);
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 2u);
  EXPECT_TRUE(client.AtEnd());
}

}  // namespace
}  // namespace switchyard::openai
