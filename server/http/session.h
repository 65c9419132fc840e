// One connection: reads requests, writes answers, notices when the client is gone. Internal to this folder.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "server/http/answer.h"
#include "server/http/cors.h"
#include "server/http/message.h"
#include "server/http/server.h"
#include "server/http/stream.h"

namespace switchyard::http {

// What all connections of a server share; outlives them.
struct SessionContext {
  ServerConfig config;
  Handler handler;
  ErrorBody error;
  ReportSink on_refused;  // may be null
  CorsPolicy cors;
  std::atomic<int64_t> body_bytes = 0;  // of requests that are being received
  std::atomic<bool> stopping = false;
};

// Thread safety: every member from any thread; the work is done on the socket's strand.
class Session {
 public:
  virtual ~Session() = default;

  // Without `tls`: plain. `at_capacity`: the first request, whatever it is, is answered 503. `on_end` runs once, on the
  // strand, when the socket is closed.
  static std::shared_ptr<Session> Start(Socket socket, TlsContext tls, SessionContext* context, bool at_capacity,
                                        std::function<void()> on_end);

  // The server stops: closes the connection if it is idle, else after the answer under way.
  virtual void CloseWhenIdle() = 0;
  // Cancels the answer under way and closes the connection.
  virtual void CloseNow() = 0;
};

}  // namespace switchyard::http
