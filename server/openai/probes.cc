#include "server/openai/probes.h"

#include <nlohmann/json.hpp>
#include <string>

#include "server/openai/json_text.h"
#include "server/version.h"

namespace switchyard::openai {
namespace {

using nlohmann::ordered_json;
using State = EngineSlot::State;

// The slot's failure, or what the engine found of itself since: a rank lost for good, or one that is built anew.
absl::Status FailureOf(const EngineSlot::Snapshot& now, absl::Status (Engine::*found)() const) {
  if (now.state == EngineSlot::State::kFailed) return now.failure;
  if (now.state == EngineSlot::State::kServing) return (now.engine->*found)();
  return absl::OkStatus();
}

}  // namespace

http::Response Health(const EngineSlot& slot) {
  // While ranks are built anew the process is alive: nobody is to kill it.
  const absl::Status failure = FailureOf(slot.snapshot(), &Engine::Failure);
  if (failure.ok()) return {.body = Dump({{"status", "alive"}})};
  return {.status = 503, .body = Dump({{"status", "failed"}, {"message", std::string(failure.message())}})};
}

http::Response Ready(const EngineSlot& slot) {
  const EngineSlot::Snapshot now = slot.snapshot();
  const absl::Status failure = FailureOf(now, &Engine::Health);
  const bool recovers = !failure.ok() && now.state == EngineSlot::State::kServing && now.engine->Failure().ok();
  ordered_json body = {{"status", failure.ok() ? Name(now.state)
                                  : recovers   ? "recovering"
                                               : Name(State::kFailed)},
                       {"model", slot.served_model_name()}};
  if (!failure.ok()) body["message"] = std::string(failure.message());
  if (now.state == EngineSlot::State::kLoading) {
    const StartupProgress& progress = now.progress;
    body["phase"] = progress.phase;
    body["bytes_read"] = progress.bytes_read;
    body["bytes_total"] = progress.bytes_total;
    body["progress"] = progress.bytes_total > 0
                           ? static_cast<double>(progress.bytes_read) / static_cast<double>(progress.bytes_total)
                           : 0.0;
  }
  const bool ready = failure.ok() && now.state == EngineSlot::State::kServing;
  http::Response response{.status = ready ? 200 : 503, .body = Dump(body)};
  if (!ready) response.headers.push_back({"Retry-After", "1"});
  return response;
}

http::Response Version() { return {.body = Dump({{"version", kServerVersion}})}; }

}  // namespace switchyard::openai
