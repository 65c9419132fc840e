// What a process does before its ranks begin: open the checkpoint, meet the other processes, and plan.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "engine/engine_config.h"
#include "engine/engine_plan.h"
#include "engine/heartbeat.h"
#include "parallel/launch.h"

namespace switchyard {

// Everything of a process that does not depend on being rank 0.
struct Startup {
  std::unique_ptr<Checkpoint> checkpoint;
  LocalRanks ranks;
  // Beats from the moment that the processes have met: what follows may take long in one of them. A loss ends every
  // call of this process's ranks.
  std::unique_ptr<Heartbeat> heart;
  EnginePlan plan;
};

// With `--load-format dummy` config.json alone.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel(const EngineConfig& config);

// On GPUs the plan's KV pages fit the rank with the least free memory, whatever process it is in.
absl::StatusOr<Startup> PrepareRanks(const EngineConfig& config, const StartupCallback& progress);

}  // namespace switchyard
