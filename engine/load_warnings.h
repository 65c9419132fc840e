// What a user should know of how a checkpoint is loaded.
#pragma once

#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_plan.h"

namespace switchyard {

// For the log, one sentence each: the checkpoint's own warnings, then those of its shards (Checkpoint::WarningsOf), for
// instance that weights stay unquantised. What is so on some ranks only is said with the first of them.
std::vector<std::string> LoadWarnings(const EnginePlan& plan, const Checkpoint& checkpoint);

}  // namespace switchyard
