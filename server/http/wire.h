// The bytes of an HTTP/1.1 response (RFC 9112).
#pragma once

#include <string>
#include <string_view>

#include "server/http/message.h"

namespace switchyard::http {

struct HeadOptions {
  std::string_view request_id;
  bool keep_alive = false;
  bool chunked = false;  // of a stream; otherwise the end of the connection is the end of the body
};

// Status line and headers with the blank line; Content-Length unless it is a stream.
std::string SerializeHead(const Response& response, const HeadOptions& options);

// Nothing for an empty piece: an empty chunk would end the body.
void AppendChunk(std::string_view piece, std::string* out);
void AppendLastChunk(std::string* out);

// `sent` if it is 1 to 128 printable ASCII characters (it goes into headers and logs), else a new random one.
std::string RequestIdFrom(std::string_view sent);

}  // namespace switchyard::http
