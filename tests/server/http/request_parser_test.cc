#include "server/http/request_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace switchyard::http {
namespace {

using Stage = RequestParser::Stage;

// Gives the parser `bytes`, `piece` at a time, until it wants no more of them. Returns what is left.
std::string Feed(RequestParser& parser, std::string_view bytes, size_t piece) {
  std::string unread;
  while (true) {
    const Stage stage = parser.stage();
    if (stage == Stage::kReceived || stage == Stage::kRefused) break;
    unread.erase(0, parser.Put(unread));
    if (parser.stage() != stage) continue;
    if (bytes.empty()) break;
    unread.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  return unread.append(bytes);
}

int StatusOf(std::string_view bytes, const Limits& limits = {}) {
  RequestParser parser(limits);
  Feed(parser, bytes, 7);
  return parser.error_status();
}

TEST(RequestParser, TakesARequestHoweverItsBytesCome) {
  constexpr std::string_view kRequest =
      "POST /v1/completions?a=b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nx-request-id: mine\r\n\r\n"
      "3\r\nabc\r\n4;name=\"value\"\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
  const Limits limits;
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{13}, kRequest.size()}) {
    RequestParser parser(limits);
    const std::string left = Feed(parser, kRequest, piece);
    ASSERT_EQ(parser.stage(), Stage::kReceived) << piece;
    EXPECT_EQ(parser.request().method, "POST");
    EXPECT_EQ(parser.request().path, "/v1/completions");
    EXPECT_EQ(parser.request().query, "a=b");
    EXPECT_EQ(parser.request().id, "mine");
    EXPECT_EQ(parser.request().body, "abcdefg");
    EXPECT_TRUE(parser.keep_alive());
    EXPECT_EQ(left, "GET / HTTP/1.1\r\n\r\n");  // the next one's
  }
}

TEST(RequestParser, LimitsTheHeaderToTheByteHoweverItsBytesCome) {
  const std::string header = "GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + std::string(100, 'a') + "\r\n\r\n";
  const auto size = static_cast<int64_t>(header.size());
  for (const size_t piece : {size_t{1}, size_t{10}, header.size()}) {
    for (const int64_t limit : {size, size - 1}) {
      const Limits limits = {.max_header_bytes = limit};
      RequestParser parser(limits);
      Feed(parser, header, piece);
      EXPECT_EQ(parser.error_status(), limit == size ? 0 : 431) << piece;
      EXPECT_EQ(parser.stage(), limit == size ? Stage::kReceived : Stage::kRefused) << piece;
    }
  }
}

TEST(RequestParser, LimitsTrailersAndTheHeadersOfChunks) {
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const Limits limits = {.max_header_bytes = 200};
  EXPECT_EQ(StatusOf(head + "1\r\na\r\n0\r\nX: " + std::string(300, 'a'), limits), 431);
  EXPECT_EQ(StatusOf(head + "1;" + std::string(300, 'a'), limits), 431);
  EXPECT_EQ(StatusOf(head + "12c\r\n" + std::string(300, 'a') + "\r\n0\r\n\r\n", limits), 0);  // a chunk's data
}

TEST(RequestParser, RefusesEveryOtherTransferCoding) {
  for (const char* coding : {"xchunked", "gzip, chunked", "chunked, gzip", "identity", "chunked;q=1"}) {
    const std::string head = std::string("POST / HTTP/1.1\r\nTransfer-Encoding: ") + coding + "\r\n";
    EXPECT_GE(StatusOf(head + "Content-Length: 2\r\n\r\n{}"), 400) << coding;
    EXPECT_EQ(StatusOf(head + "\r\n"), 501) << coding;
  }
}

TEST(RequestParser, RefusesTwoLengths) {
  const std::string head = "POST / HTTP/1.1\r\n";
  EXPECT_EQ(StatusOf(head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(head + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n"), 400);
}

}  // namespace
}  // namespace switchyard::http
