// An answer whose end goes into the access log and the trace.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/http/answer.h"
#include "server/request_scope.h"

namespace switchyard::openai {

RequestRecord RecordOf(const http::Report& report);

class RecordedAnswer : public http::Answer {
 public:
  RecordedAnswer(std::unique_ptr<http::Answer> answer, std::shared_ptr<RequestScope> scope)
      : answer_(std::move(answer)), scope_(std::move(scope)) {}

  std::optional<http::Response> Head() override { return answer_->Head(); }
  bool Read(std::string* out) override { return answer_->Read(out); }
  void Cancel() override { answer_->Cancel(); }
  void OnEnd(const http::Report& report) override { scope_->End(RecordOf(report)); }

 private:
  const std::unique_ptr<http::Answer> answer_;
  const std::shared_ptr<RequestScope> scope_;
};

}  // namespace switchyard::openai
