// The flags of --offload-experts.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "engine/engine_config.h"
#include "server/settings/flag.h"

namespace switchyard {

// `engine` outlives the flags.
void AddOffloadFlags(EngineConfig* engine, std::vector<Flag>* flags);
// Where CPU ranks offload, the system's temporary directory takes the place of an --offload-dir that was not given.
// INVALID_ARGUMENT if one was given for GPUs, or there is no such directory.
absl::Status CompleteOffload(EngineConfig* engine);

}  // namespace switchyard
