// Requests and responses as handlers see them. Values only; no library's types.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace switchyard {

class RequestScope;

namespace http {

struct Header {
  std::string name;
  std::string value;
};

struct Request {
  std::string method;  // "GET"; as sent, upper case
  std::string path;    // percent-encoding kept; without the query
  std::string query;   // without '?'
  std::vector<Header> headers;
  std::string body;
  std::string id;      // the x-request-id header if there was a usable one, else made here
  std::string client;  // "127.0.0.1:4711", "[::1]:4711", "unix"
  // The handler's own, carried along to those that it hands the request to.
  std::shared_ptr<RequestScope> scope;

  // The first header of that name, whatever its case; empty if there is none.
  std::string_view header(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<Header> headers;
  std::string body;  // of a stream: what goes before its first piece
  // True: the body goes on with what Answer::Read gives, in chunks.
  bool stream = false;
};

// How a request went, once it is over.
struct Report {
  std::string id;
  std::string client;
  std::string method;  // as much as was understood of a request that was refused; perhaps nothing
  std::string path;
  int status = 0;         // 0: no answer was begun
  uint64_t bytes = 0;     // of the answer, with its header, before TLS
  bool complete = false;  // the whole answer was sent
  absl::Time begin;       // when the header was complete
  absl::Duration duration;
  absl::Duration time_to_first_byte;  // of the answer
};
using ReportSink = std::function<void(const Report&)>;

// The body of an error that this folder finds itself (malformed HTTP, limits, unknown paths), in the API's shape.
using ErrorBody = std::string (*)(int status, std::string_view message);

// "%2F" -> "/"; a '%' that no two hexadecimal digits follow stays as it is.
std::string PercentDecode(std::string_view text);

}  // namespace http
}  // namespace switchyard
