// The bytes of one HTTP connection, from the parser to what the engine would be asked, and the promises that must hold.
#pragma once

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/request_validation.h"
#include "server/http/request_parser.h"
#include "server/http/router.h"
#include "server/openai/request_plan.h"
#include "tests/engine/constraint/piece_tokenizer.h"
#include "tests/fuzz/text_engine.h"

namespace switchyard {

// Thread safety: none.
class HttpRequestFuzzer {
 public:
  explicit HttpRequestFuzzer(const std::string& model_directory) : engine_(model_directory, kConstraintLimits) {
    for (const auto& [path, endpoint] : {std::pair("/v1/completions", openai::Endpoint::kCompletions),
                                         std::pair("/v1/chat/completions", openai::Endpoint::kChat)}) {
      router_.Add("POST", path, [this, endpoint = endpoint](const http::Request& request, const http::Waker&) {
        return Generate(endpoint, request);
      });
    }
  }

  // What is wrong, or nothing.
  std::string Check(std::string_view bytes) {
    fault_.clear();
    const Connection whole = Receive(bytes, /*in_pieces=*/false);
    const Connection pieces = Receive(bytes, /*in_pieces=*/true);
    // A header whose end has not come may be refused for its beginning, or waited for.
    const bool both_refused = (whole.status != 0) == (pieces.status != 0);
    if (whole.requests.size() != pieces.requests.size() || !(both_refused || pieces.status == 0)) {
      return absl::StrCat("cut into pieces, the connection gives ", pieces.requests.size(), " requests and status ",
                          pieces.status, ", not ", whole.requests.size(), " and ", whole.status);
    }
    for (size_t i = 0; i < whole.requests.size(); ++i) {
      if (whole.requests[i].body != pieces.requests[i].body) return "a body depends on how the connection was cut";
      const std::string fault = CheckRequest(whole.requests[i]);
      if (!fault.empty()) return fault;
      Answer(whole.requests[i]);
    }
    return fault_;
  }

 private:
  struct Connection {
    std::vector<http::Request> requests;
    int status = 0;  // of the refusal that ended it; 0: none did
  };

  // Bounds that keep an input's time short.
  static constexpr ConstraintLimits kConstraintLimits = {
      .max_bytes = 8 << 10, .max_states = 4096, .max_steps = 1'000'000, .max_time = absl::Seconds(20)};
  static constexpr size_t kMaxChoices = 4;  // looked at, of those of a plan

  Connection Receive(std::string_view bytes, bool in_pieces) {
    Connection connection;
    std::string unread;
    size_t come = 0;
    uint32_t random = static_cast<uint32_t>(bytes.size());
    const auto come_more = [&] {
      random = random * 1664525 + 1013904223;
      const size_t size = std::min(in_pieces ? 1 + (random >> 8) % 41 : bytes.size(), bytes.size() - come);
      unread.append(bytes.substr(come, size));
      come += size;
      return size > 0;
    };
    bool keeps = true;
    while (keeps) {
      http::RequestParser parser(http_limits_);
      using Stage = http::RequestParser::Stage;
      while (parser.stage() == Stage::kHeader || parser.stage() == Stage::kBody) {
        const Stage stage = parser.stage();
        unread.erase(0, parser.Put(unread));
        if (parser.body_size() > static_cast<size_t>(http_limits_.max_body_bytes)) fault_ = "a body over the limit";
        if (parser.stage() == stage && !come_more()) return connection;
      }
      if (parser.stage() == Stage::kRefused) {
        connection.status = parser.error_status();
        if (connection.status < 400 || parser.error_message().empty()) fault_ = "a refusal without a reason";
        return connection;
      }
      connection.requests.push_back(std::move(parser.request()));
      keeps = parser.keep_alive();
    }
    return connection;
  }

  std::string CheckRequest(const http::Request& request) {
    if (static_cast<int64_t>(request.headers.size()) > http_limits_.max_headers) return "too many headers";
    if (request.id.empty() || request.id.size() > 128) return "an id that is no id";
    if (absl::StrContains(absl::string_view(request.path.data(), request.path.size()), "?")) return "a path with a '?'";
    // What one server takes for the body and another for the next request (RFC 9112, 6.3).
    if (!request.header("content-length").empty() && !request.header("transfer-encoding").empty()) {
      return "a request with two lengths";
    }
    for (const http::Header& header : request.headers) {
      if (header.value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
        return "a header of two lines";
    }
    return "";
  }

  void Answer(const http::Request& request) {
    const std::unique_ptr<http::Answer> answer = router_.Dispatch(request, [] {});
    const std::optional<http::Response> response = answer->Head();
    if (!response.has_value()) {
      fault_ = "no answer";
    } else if (response->status >= 400 && !nlohmann::json::accept(response->body)) {
      fault_ = "an error that is no JSON";
    }
  }

  std::unique_ptr<http::Answer> Generate(openai::Endpoint endpoint, const http::Request& request) {
    const openai::ModelContext model = {.engine = &engine_, .served_name = &served_name_, .limits = &limits_};
    openai::GenerationPlan plan;
    if (const auto error = openai::ReadPlan(endpoint, request.body, model, request.id, &plan)) {
      if (error->status < 400 || error->status >= 500 || error->message.empty()) {
        fault_ = absl::StrCat("status ", error->status, " for a bad request: ", error->message);
      }
      return openai::ErrorAnswer(*error);
    }
    const size_t choices = plan.prompts.size() * static_cast<size_t>(plan.candidates);
    if (choices == 0 || choices > static_cast<size_t>(limits_.max_choices)) fault_ = "a plan of no or too many choices";
    for (size_t i = 0; i < std::min(choices, kMaxChoices); ++i) CheckEngineRequest(openai::RequestOf(plan, i));
    return std::make_unique<http::ReadyAnswer>(http::Response{.body = "{}"});
  }

  // The front end has named every fault itself: the engine finds none, and there is a token to begin with.
  void CheckEngineRequest(const GenerationRequest& request) {
    const ModelInfo& info = engine_.model_info();
    const absl::Status status =
        ValidateRequest(request, {.vocab_size = info.spec.vocab_size, .max_model_len = info.max_model_len});
    if (!status.ok()) fault_ = absl::StrCat("the engine would refuse it: ", status.message());
    if (static_cast<int64_t>(request.prompt.size()) + request.stop.max_tokens > info.max_model_len) {
      fault_ = "more tokens than the context holds";
    }
    if (request.rules.grammar == nullptr) return;
    GrammarMatcher matcher(request.rules.grammar);
    const absl::StatusOr<TokenMask> mask = matcher.Allowed();
    if (!mask.ok()) {
      if (!absl::IsResourceExhausted(mask.status())) fault_ = mask.status().ToString();
      return;
    }
    bool any = matcher.MayEnd();
    for (int32_t id = 0; id < info.spec.vocab_size && !any; ++id) any = IsAllowed(*mask, id);
    if (!any) fault_ = "a constraint that nothing meets";
  }

  const http::Limits http_limits_;
  const openai::Limits limits_;
  const std::string served_name_ = "tiny-mixtral";
  TextEngine engine_;
  http::Router router_{openai::HttpErrorBody};
  std::string fault_;  // of the input under test
};

}  // namespace switchyard
