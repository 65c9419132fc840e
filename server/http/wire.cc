#include "server/http/wire.h"

#include <boost/beast/http/status.hpp>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace switchyard::http {

std::string SerializeHead(const Response& response, const HeadOptions& options) {
  const auto reason = boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(response.status));
  std::string head =
      absl::StrCat("HTTP/1.1 ", response.status, " ", std::string(reason), "\r\nServer: switchyard\r\nDate: ");
  absl::StrAppend(&head, absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()), "\r\n");
  absl::StrAppend(&head, "x-request-id: ", std::string(options.request_id), "\r\n");
  for (const Header& header : response.headers) absl::StrAppend(&head, header.name, ": ", header.value, "\r\n");
  if (response.status != 204) absl::StrAppend(&head, "Content-Type: ", response.content_type, "\r\n");
  if (options.chunked) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (!response.stream && response.status != 204) {
    absl::StrAppend(&head, "Content-Length: ", response.body.size(), "\r\n");
  }
  absl::StrAppend(&head, "Connection: ", options.keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  return head;
}

void AppendChunk(std::string_view piece, std::string* out) {
  if (piece.empty()) return;
  absl::StrAppend(out, absl::Hex(piece.size()), "\r\n");
  out->append(piece).append("\r\n");
}

void AppendLastChunk(std::string* out) { out->append("0\r\n\r\n"); }

std::string RequestIdFrom(std::string_view sent) {
  bool usable = !sent.empty() && sent.size() <= 128;
  for (char c : sent) usable = usable && absl::ascii_isgraph(static_cast<unsigned char>(c));
  if (usable) return std::string(sent);
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) absl::StrAppendFormat(&id, "%08x", random());
  return id;
}

}  // namespace switchyard::http
