// The answer to a request, perhaps still in the making: pulled by the connection when the client can take more.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/http/message.h"

namespace switchyard::http {

// Thread safety: the members are called from the io threads, never two at a time and never after the connection
// dropped the answer. They must not block. Whoever makes the answer synchronises its own producers with them.
//
//   Head() ... Head() -> response; while (Read()) send; OnEnd()     or, at any point: Cancel(), OnEnd()
//
// Back-pressure: Read is called only once everything that it gave before has been written to the socket. What comes
// in the meantime waits in the answer, which merges it and bounds it.
class Answer {
 public:
  virtual ~Answer() = default;

  // Status and headers, or with `stream` false the whole answer. nullopt: not known yet, ask after the next wake.
  virtual std::optional<Response> Head() = 0;
  // Of a stream: appends what can be sent now, perhaps nothing. False: that was the last. `out` comes in empty.
  virtual bool Read(std::string* out) = 0;
  // The client is gone, or stalled for too long, or the server stops. Frees what the answer holds at once.
  virtual void Cancel() = 0;
  // The last call: the answer was sent, or given up.
  virtual void OnEnd(const Report& report) {}
};

// Tells the connection that Head or Read has news. From any thread, any number of times, also after the connection is
// gone. Does not block.
using Waker = std::function<void()>;

// Runs on an io thread of the connection. It may set the request's scope.
using Handler = std::function<std::unique_ptr<Answer>(Request& request, Waker waker)>;

// An answer that is there at once.
class ReadyAnswer : public Answer {
 public:
  explicit ReadyAnswer(Response response) : response_(std::move(response)) {}
  std::optional<Response> Head() override { return std::move(response_); }
  bool Read(std::string* out) override { return false; }
  void Cancel() override {}

 private:
  Response response_;
};

}  // namespace switchyard::http
