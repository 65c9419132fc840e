// One request from its arrival to the end of its answer: whose it is, what it costs its key, what is recorded of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/request.h"
#include "server/edge.h"
#include "server/telemetry/request_record.h"

namespace switchyard {

// A generation, in the words of OpenTelemetry's conventions for generative AI.
struct GenerationFacts {
  std::string operation;  // "chat", "text_completion"
  std::string model;
  std::string response_id;
  const GenerationRequest* request = nullptr;  // of every choice; its prompt is not looked at
  int64_t prompt_tokens = 0;                   // of all prompts
  int64_t num_choices = 1;
};

// Thread safety: every member from any thread. Held shared, as the engine's callbacks may outlive the answer.
class RequestScope {
 public:
  // `edge` is borrowed. `traceparent`: of the caller, or empty.
  RequestScope(Edge* edge, absl::string_view traceparent);

  // False: there are keys, and `authorization` has none of them.
  bool Authorize(absl::string_view authorization);

  // Before the request goes to the engine. RESOURCE_EXHAUSTED, with the numbers and WithRetryAfter, if its key is over
  // a limit; else the key pays for the prompt, and for the request until this scope ends.
  absl::Status Admit(const GenerationFacts& facts);
  // From the engine's thread, with every update of every choice: the key pays for the tokens.
  void OnUpdate(size_t choice, const RequestUpdate& update);

  // The answer is over. Fills in what is known here and writes the access log and the trace.
  void End(RequestRecord record);

 private:
  struct Choice {
    int64_t completion_tokens = 0;
    std::optional<FinishReason> finish;
  };
  void ExportPhases(size_t choice, const RequestTimings& timings) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExportRequest(const RequestRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Span PartOf(std::string name, absl::Time begin, absl::Time end) const;

  // constant after construction
  Edge* const edge_;
  const TraceContext trace_;

  absl::Mutex mu_;
  std::shared_ptr<KeyAccount> account_ ABSL_GUARDED_BY(mu_);  // null: no keys
  std::unique_ptr<KeyTicket> ticket_ ABSL_GUARDED_BY(mu_);    // null: not admitted, or no keys
  std::optional<absl::Time> admitted_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Time> first_token_ ABSL_GUARDED_BY(mu_);
  std::string span_name_ ABSL_GUARDED_BY(mu_);  // of a generation; else empty
  std::vector<Attribute> attributes_ ABSL_GUARDED_BY(mu_);
  int64_t prompt_tokens_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Choice> choices_ ABSL_GUARDED_BY(mu_);
};

}  // namespace switchyard
