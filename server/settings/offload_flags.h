// The flags of --offload-experts.
#pragma once

#include <vector>

#include "engine/engine_config.h"
#include "server/settings/flag.h"

namespace switchyard {

// `engine` outlives the flags. Sets the default of --offload-dir: the system's temporary directory.
void AddOffloadFlags(EngineConfig* engine, std::vector<Flag>* flags);

}  // namespace switchyard
