// One connection: reads requests, writes answers, notices when the client is gone. Internal to this folder: the one
// header here that shows Asio's types.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <functional>
#include <memory>

#include "server/http/answer.h"
#include "server/http/message.h"
#include "server/http/server.h"

namespace switchyard::http {

using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Strand>;

// What all connections of a server share; outlives them.
struct SessionContext {
  ServerConfig config;
  Handler handler;
  ErrorBody error;
  std::atomic<bool> stopping = false;
};

// Thread safety: every member from any thread; the work is done on the socket's strand.
class Session {
 public:
  virtual ~Session() = default;

  // `at_capacity`: the first request, whatever it is, is answered 503. `on_end` runs once, on the strand, when the
  // socket is closed.
  static std::shared_ptr<Session> Start(Socket socket, SessionContext* context, bool at_capacity,
                                        std::function<void()> on_end);

  // The server stops: closes the connection if it is idle, else after the answer under way.
  virtual void CloseWhenIdle() = 0;
  // Cancels the answer under way and closes the connection.
  virtual void CloseNow() = 0;
};

}  // namespace switchyard::http
