// Server-sent events of both endpoints.
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

class Streaming : public ApiTest {};

TEST_F(Streaming, FramesEveryEventToTheByte) {
  Serve({.output = "ab"});
  const HttpReply reply =
      Post("/v1/completions", {{"prompt", "Hi"}, {"stream", true}, {"request_id", "r"}, {"ignore_eos", false}});
  ASSERT_TRUE(reply.complete);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(reply.headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(reply.headers.count("content-length"), 0u);
  const std::vector<json> chunks = ChunksOf(reply);
  ASSERT_FALSE(chunks.empty());
  const std::string start =
      "data: {\"id\":\"cmpl-r\",\"object\":\"text_completion\",\"created\":" + chunks[0]["created"].dump() +
      ",\"model\":\"fake\",\"choices\":[{\"index\":0,\"text\":\"";
  const std::string middle = "\",\"logprobs\":null,\"finish_reason\":";
  EXPECT_EQ(reply.body, start + "a" + middle + "null}]}\n\n" + start + "b" + middle + "null}]}\n\n" + start + "" +
                            middle + "null}]}\n\n" + start + middle + "\"stop\",\"stop_reason\":null}]}\n\n" +
                            "data: [DONE]\n\n");
}

TEST_F(Streaming, SendsNothingBeforeTheFirstTokenAndThenOneChunkPerToken) {
  Serve({.output = "abc", .hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/chat/completions",
                     R"({"messages":[{"role":"user","content":"Hi"}],"stream":true,"max_tokens":3})");
  engine_->WaitForSubmitted(1);
  engine_->Step(1);
  const std::string head = client.ReadUntil("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n")) << head;
  const std::string first = client.ReadUntil("\n\n\r\n");
  EXPECT_NE(first.find(R"("delta":{"role":"assistant","content":"a"})"), std::string::npos) << first;
  engine_->Step(1);
  const std::string second = client.ReadUntil("\n\n\r\n");
  EXPECT_NE(second.find(R"("delta":{"content":"b"})"), std::string::npos) << second;
  EXPECT_EQ(second.find("data: ", second.find("data: ") + 1), std::string::npos) << second;
  engine_->Step(1);
  const std::string rest = client.ReadUntil("0\r\n\r\n");
  EXPECT_NE(rest.find(R"("delta":{"content":"c"})"), std::string::npos) << rest;
  EXPECT_NE(rest.find(R"("delta":{},"logprobs":null,"finish_reason":"length")"), std::string::npos) << rest;
  EXPECT_NE(rest.find("data: [DONE]\n\n\r\n0\r\n\r\n"), std::string::npos) << rest;
}

TEST_F(Streaming, KeepsIdCreatedAndModelConstant) {
  Serve();
  const std::vector<json> chunks =
      ChunksOf(Post("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"stream", true}}));
  // 13 characters, the end of sequence, finish_reason
  ASSERT_EQ(chunks.size(), 15u);
  std::string text;
  for (size_t i = 0; i < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i]["id"], chunks[0]["id"]);
    EXPECT_EQ(chunks[i]["created"], chunks[0]["created"]);
    EXPECT_EQ(chunks[i]["model"], "fake");
    EXPECT_EQ(chunks[i]["object"], "chat.completion.chunk");
    EXPECT_FALSE(chunks[i].contains("usage"));
    const json& delta = chunks[i]["choices"][0]["delta"];
    EXPECT_EQ(delta.contains("role"), i == 0);
    text += delta.value("content", "");
    EXPECT_EQ(chunks[i]["choices"][0]["finish_reason"].is_null(), i + 1 < chunks.size());
  }
  EXPECT_EQ(text, "Hello, world!");
}

TEST_F(Streaming, SendsTheUsageOnlyWhenAsked) {
  Serve();
  const std::vector<json> chunks = ChunksOf(
      Post("/v1/completions",
           {{"prompt", "Hi"}, {"stream", true}, {"max_tokens", 3}, {"stream_options", {{"include_usage", true}}}}));
  ASSERT_EQ(chunks.size(), 5u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(chunks[i].at("usage"), nullptr);
  EXPECT_EQ(chunks[4]["choices"], json::array());
  EXPECT_EQ(chunks[4]["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(chunks[4]["usage"]["completion_tokens"], 3);
}

TEST_F(Streaming, CountsTheUsageInEveryChunkWhenAsked) {
  Serve({.hold = true});
  HttpClient client(server_->port());
  client.SendRequest("POST", "/v1/completions",
                     R"({"prompt":"Hi","stream":true,"stream_options":{"continuous_usage_stats":true}})");
  engine_->WaitForSubmitted(1);
  for (int tokens = 1; tokens <= 3; ++tokens) {
    engine_->Step(1);
    const std::string chunk = client.ReadUntil("\n\n\r\n");
    EXPECT_NE(chunk.find("\"completion_tokens\":" + std::to_string(tokens)), std::string::npos) << chunk;
  }
}

TEST_F(Streaming, NeverSendsHalfACharacter) {
  Serve({.output = "né→🚂"});
  const std::vector<json> chunks = ChunksOf(Post("/v1/completions", {{"prompt", "ü"}, {"stream", true}}));
  std::string text;
  std::vector<std::string> pieces;
  for (const json& chunk : chunks) {
    // An incomplete character would not have parsed.
    ASSERT_TRUE(chunk.is_object());
    pieces.push_back(chunk["choices"][0]["text"]);
    text += pieces.back();
  }
  EXPECT_EQ(text, "né→🚂");
  EXPECT_EQ(text.find("\xEF\xBF\xBD"), std::string::npos);
  // One chunk per token, also for tokens that complete nothing; the end of sequence; finish_reason.
  EXPECT_EQ(pieces.size(), 1u + 2 + 3 + 4 + 1 + 1);
}

TEST_F(Streaming, StreamsSeveralChoicesAndEndsEach) {
  Serve();
  const std::vector<json> chunks =
      ChunksOf(Post("/v1/completions", {{"prompt", {"A", "B"}}, {"n", 2}, {"max_tokens", 4}, {"stream", true}}));
  std::map<int, std::string> texts;
  std::map<int, int> finishes;
  for (const json& chunk : chunks) {
    ASSERT_EQ(chunk["choices"].size(), 1u);
    const json& choice = chunk["choices"][0];
    EXPECT_EQ(finishes[choice["index"]], 0);
    texts[choice["index"]] += choice["text"].get<std::string>();
    finishes[choice["index"]] += choice["finish_reason"] == "length" ? 1 : 0;
  }
  EXPECT_EQ(texts, (std::map<int, std::string>{{0, "Hell"}, {1, "Hell"}, {2, "Hell"}, {3, "Hell"}}));
  EXPECT_EQ(finishes, (std::map<int, int>{{0, 1}, {1, 1}, {2, 1}, {3, 1}}));
}

TEST_F(Streaming, StartsWithTheEchoedPrompt) {
  Serve();
  const std::vector<json> chunks = ChunksOf(Post(
      "/v1/completions", {{"prompt", "Hi"}, {"echo", true}, {"logprobs", 0}, {"max_tokens", 2}, {"stream", true}}));
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[0]["choices"][0]["text"], "HiH");
  EXPECT_EQ(chunks[0]["choices"][0]["logprobs"]["tokens"], json({"<s>", "H", "i", "H"}));
  EXPECT_EQ(chunks[1]["choices"][0]["logprobs"]["tokens"], json::array({"e"}));
  EXPECT_EQ(chunks[1]["choices"][0]["logprobs"]["text_offset"], json::array({3}));

  const std::vector<json> scored =
      ChunksOf(Post("/v1/completions", {{"prompt", "Hi"}, {"echo", true}, {"max_tokens", 0}, {"stream", true}}));
  ASSERT_EQ(scored.size(), 2u);
  EXPECT_EQ(scored[0]["choices"][0]["text"], "Hi");
}

TEST_F(Streaming, SendsAnErrorAfterTheBeginAsAnEventAndEnds) {
  Serve({.fail_after_tokens = 2});
  const HttpReply reply = Post("/v1/completions", {{"prompt", "Hi"}, {"stream", true}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.complete);
  const std::vector<std::string> events = EventsOf(reply.body);
  ASSERT_EQ(events.size(), 3u);
  const json last = json::parse(events[2]);
  EXPECT_EQ(last["error"]["message"], "the logits of the request held NaN");
  EXPECT_EQ(last["error"]["type"], "server_error");
}

TEST_F(Streaming, GivesAnErrorBeforeTheFirstTokenItsStatus) {
  Serve({.fail_after_tokens = 0});
  ErrorOf(Post("/v1/completions", {{"prompt", "Hi"}, {"stream", true}}), 500);
}

TEST_F(Streaming, EndsWithTheConnectionForHttp10) {
  Serve({.output = "ab"});
  HttpClient client(server_->port());
  const std::string body = R"({"prompt":"Hi","stream":true})";
  client.Send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const HttpReply reply = client.ReadReply();
  EXPECT_EQ(reply.headers.count("transfer-encoding"), 0u);
  EXPECT_EQ(reply.headers.at("connection"), "close");
  EXPECT_EQ(ChunksOf(reply).size(), 4u);
}

}  // namespace
}  // namespace switchyard::openai
