// One request from its handler to the end of its answer, with the report of it; what either throws is caught and
// logged. Knows no sockets. Internal to this folder.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "server/http/answer.h"
#include "server/http/message.h"
#include "server/http/session.h"

namespace switchyard::http {

// Used for one request after the other:
//   Begin(); Handle(); Head() ... Head() -> response; while (Read()) CountBytes(); End()
// Of a request that is refused, which has no handler: Begin(); CountBytes(); End().
// Thread safety: the connection's strand.
class AnsweredRequest {
 public:
  explicit AnsweredRequest(const SessionContext* context) : context_(*context) {}  // borrowed

  // The report begins with what the request says of itself.
  void Begin(const Request& request);
  // Calls the handler, unless CORS answers.
  void Handle(Request& request, Waker waker);

  // Answer's. Where the handler or the answer threw, Head is a 500 that ends the connection, and Read false.
  std::optional<Response> Head();
  bool Read(std::string* piece);
  bool failed() const { return failed_; }
  void Cancel();

  // `size` bytes more were sent; before the first of them is written, MarkFirstByte.
  void MarkFirstByte();
  void CountBytes(size_t size) { report_.bytes += size; }
  // Hands the report to the answer, or where there is none to the server's sink.
  void End(bool complete);

  Report& report() { return report_; }

 private:
  const SessionContext& context_;
  std::unique_ptr<Answer> answer_;  // null: the handler threw, or was not called
  Report report_;
  bool failed_ = false;
};

}  // namespace switchyard::http
