#include "server/engine_slot.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/check.h"

namespace switchyard {

EngineSlot::EngineSlot(std::string served_model_name)
    : served_model_name_(std::move(served_model_name)), created_unix_seconds_(absl::ToUnixSeconds(absl::Now())) {}

void EngineSlot::SetProgress(StartupProgress progress) {
  absl::MutexLock lock(&mu_);
  current_.progress = std::move(progress);
}

void EngineSlot::Serve(Engine* engine) {
  CHECK(engine != nullptr);
  absl::MutexLock lock(&mu_);
  current_.engine = engine;
  // A stop signal may have come while the engine was loading.
  if (current_.state == State::kLoading) current_.state = State::kServing;
}

void EngineSlot::BeginDrain() {
  absl::MutexLock lock(&mu_);
  if (current_.state != State::kFailed) current_.state = State::kDraining;
}

void EngineSlot::Fail(absl::Status reason) {
  CHECK(!reason.ok());
  absl::MutexLock lock(&mu_);
  current_.state = State::kFailed;
  current_.failure = std::move(reason);
}

EngineSlot::Snapshot EngineSlot::snapshot() const {
  absl::MutexLock lock(&mu_);
  return current_;
}

absl::StatusOr<Engine*> EngineSlot::Admit() const {
  const Snapshot now = snapshot();
  switch (now.state) {
    case State::kServing:
      return now.engine;
    case State::kLoading:
      return absl::UnavailableError(absl::StrCat("the model \"", served_model_name_, "\" is still loading (phase ",
                                                 now.progress.phase.empty() ? "start" : now.progress.phase, ", ",
                                                 now.progress.bytes_read, " of ", now.progress.bytes_total,
                                                 " bytes); retry once /ready says 200"));
    case State::kDraining:
      return absl::UnavailableError("the server is draining and takes no new requests; send them to another instance");
    case State::kFailed:
      break;
  }
  return absl::UnavailableError(absl::StrCat("the engine has failed: ", now.failure.message()));
}

const char* Name(EngineSlot::State state) {
  switch (state) {
    case EngineSlot::State::kLoading:
      return "loading";
    case EngineSlot::State::kServing:
      return "ready";
    case EngineSlot::State::kDraining:
      return "draining";
    case EngineSlot::State::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace switchyard
