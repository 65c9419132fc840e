// Reads one request from a connection, within the limits. Internal to this folder.
#pragma once

#include <optional>
#include <string>

#include "server/http/connection.h"
#include "server/http/message.h"
#include "server/http/session.h"

namespace switchyard::http {

// A request's part in the memory that all bodies may take; returns it when destroyed. Movable.
class BodyShare {
 public:
  explicit BodyShare(SessionContext* context) : context_(context) {}
  ~BodyShare() { Release(); }
  BodyShare(BodyShare&& other) noexcept : context_(other.context_), bytes_(std::exchange(other.bytes_, 0)) {}
  BodyShare& operator=(BodyShare&&) = delete;

  // False: that is more than there is, and nothing was taken.
  bool GrowTo(int64_t bytes);
  void Release();
  int64_t limit() const { return context_->config.limits.max_body_memory; }  // of all together

 private:
  SessionContext* const context_;  // borrowed
  int64_t bytes_ = 0;
};

struct ReadResult {
  explicit ReadResult(SessionContext* context) : body_share(context) {}

  Request request;  // complete unless there is an `error_status`; then as much as was understood
  bool received = false;
  bool keep_alive = false;
  bool http_1_0 = false;
  // Of a request that was not received: what to answer. 0: nothing, the connection ends.
  int error_status = 0;
  std::string error_message;
  BodyShare body_share;
};

Awaitable<ReadResult> ReadRequest(Connection& connection, SessionContext& context);

}  // namespace switchyard::http
