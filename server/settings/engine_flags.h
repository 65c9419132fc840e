// The flags of the engine itself: the model, its ranks, memory and batching, numerics, and how much load it takes on.
#pragma once

#include <vector>

#include "engine/engine_config.h"
#include "server/settings/flag.h"
#include "server/settings/schema.h"

namespace switchyard {

// Of every command that runs a model, or plans to; bound to `draft`, which outlives them. Its command is set.
void AddEngineFlags(SettingsDraft* draft, std::vector<Flag>* flags);
// Of the command that serves: queues, limits of time, and what follows the loss of a rank. `engine` outlives the flags.
void AddLoadFlags(EngineConfig* engine, std::vector<Flag>* flags);

// Parts of AddEngineFlags, for a command that has ranks and no model.
// --gpus.
Flag GpusFlag(SettingsDraft* draft);
// --collectives, --collective-timeout.
void AddCollectiveFlags(EngineConfig* engine, std::vector<Flag>* flags);

}  // namespace switchyard
