// Where the front ends find the engine: they listen before it exists and go on listening while it drains.
//
//   kLoading --Serve--> kServing --BeginDrain--> kDraining
//       \_______Fail_______/___________Fail_________/---> kFailed
//
// Thread safety: every member may be called from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"

namespace switchyard {

class EngineSlot {
 public:
  enum class State { kLoading, kServing, kDraining, kFailed };

  explicit EngineSlot(std::string served_model_name);
  EngineSlot(const EngineSlot&) = delete;
  EngineSlot& operator=(const EngineSlot&) = delete;

  // Wiring: the serve command's side.
  void SetProgress(StartupProgress progress);
  // `engine` is borrowed: it outlives every front end that uses this slot.
  void Serve(Engine* engine);
  void BeginDrain();
  void Fail(absl::Status reason);

  // Serving: the front ends' side.
  struct Snapshot {
    State state = State::kLoading;
    StartupProgress progress;  // of kLoading
    absl::Status failure;      // of kFailed
    Engine* engine = nullptr;  // null before Serve; kept afterwards, for aborts and metrics
  };
  Snapshot snapshot() const;
  // The engine for a new request; UNAVAILABLE with the reason while loading or draining, or after a failure.
  absl::StatusOr<Engine*> Admit() const;

  const std::string& served_model_name() const { return served_model_name_; }
  int64_t created_unix_seconds() const { return created_unix_seconds_; }

 private:
  const std::string served_model_name_;
  const int64_t created_unix_seconds_;

  mutable absl::Mutex mu_;
  Snapshot current_ ABSL_GUARDED_BY(mu_);
};

const char* Name(EngineSlot::State state);  // "loading", "ready", "draining", "failed"

}  // namespace switchyard
