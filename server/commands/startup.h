// What every command does before its own work: load the engine with a progress line, or serve as another process's
// rank.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/settings/settings.h"

namespace switchyard {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;   // while running
inline constexpr int kExitRefused = 2;  // flags, checkpoint or input that the user can mend

// kExitRefused for INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, UNIMPLEMENTED, OUT_OF_RANGE and FAILED_PRECONDITION.
int ExitCodeOf(const absl::Status& status);

// Logs the error and returns its exit code.
int Report(const absl::Status& status);

// A callback for Engine::Create that shows phase, file, GB, GB/s and the time left (progress_line.h). `also` gets every
// call, too. Thread-safe if `also` is.
StartupCallback ShowProgress(StartupCallback also = nullptr);

// What the user should know of the model and how it is loaded, into the log.
void LogWarnings(const Engine& engine);

// --check: opens checkpoint, tokenizer and chat template, and plans ranks and memory. Loads nothing.
int RunCheck(const Settings& settings);

// A process other than rank 0's: serves its ranks until rank 0 stops or is lost. After SIGTERM it waits for that, for
// as long as rank 0 may drain.
int RunFollower(const Settings& settings);

}  // namespace switchyard
