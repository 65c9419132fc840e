// Requests and responses as handlers see them. Values only; no library's types.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace switchyard::http {

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
  std::string id;  // the x-request-id header if there was a usable one, else made here

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

// The body of an error that this folder finds itself (malformed HTTP, limits, unknown paths), in the API's shape.
using ErrorBody = std::string (*)(int status, std::string_view message);

// "%2F" -> "/"; a '%' that no two hexadecimal digits follow stays as it is.
std::string PercentDecode(std::string_view text);

}  // namespace switchyard::http
