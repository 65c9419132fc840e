// One HTTP/1.1 request (RFC 9112) out of the bytes of a connection, within the limits. Knows no socket and no clock.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/http/limits.h"
#include "server/http/message.h"

namespace switchyard::http {

// Thread safety: none; it belongs to its connection.
//
//   kHeader --> kBody --> kReceived      or, at any point before kReceived: --> kRefused
class RequestParser {
 public:
  // `limits` is borrowed.
  explicit RequestParser(const Limits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  enum class Stage { kHeader, kBody, kReceived, kRefused };
  Stage stage() const;

  // `bytes` are those that an earlier call left, and what came behind them. Returns how many, from the front, were
  // used; it goes no further than the end of the header, and then no further than the end of the request. More than
  // max_header_bytes are never left without a refusal.
  size_t Put(std::string_view bytes);

  // From kBody on: method, path, query, headers and id; the body once it is received.
  Request& request();
  size_t body_size() const;  // so far
  bool keep_alive() const;
  bool is_http_1_0() const;
  bool expects_continue() const;  // the client waits for "100 Continue" before it sends the body

  // Of kRefused: what to answer. Nothing of what follows can be understood.
  int error_status() const;
  const std::string& error_message() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::http
