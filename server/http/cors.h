// Which pages' scripts may call this server: cross-origin resource sharing (Fetch Standard, 3.2).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/http/message.h"

namespace switchyard::http {

// Thread safety: immutable.
class CorsPolicy {
 public:
  // `origins` as browsers send them ("https://app.example.org"), or "*" for all. None: off, and no answer says
  // anything.
  explicit CorsPolicy(std::vector<std::string> origins) : origins_(std::move(origins)) {}

  // The answer to a preflight request; nullopt if this is none, or CORS is off.
  std::optional<Response> Preflight(const Request& request) const;
  // What an answer to `request` must say for a page to read it. Cookies are never asked for.
  void AddHeaders(const Request& request, std::vector<Header>* headers) const;

 private:
  // What Access-Control-Allow-Origin must be; empty: nothing.
  std::string AllowedOrigin(const Request& request) const;

  const std::vector<std::string> origins_;
};

}  // namespace switchyard::http
