// An engine's configuration as the command line that makes it.
#pragma once

#include <string>

#include "engine/engine_config.h"

namespace switchyard {

// "switchyard serve --model DIR --device cuda --gpus 0,1 --max-model-len 32768 ...": every flag that differs from its
// default, quoted for a shell. Cards that `engine` knows by their sizes alone are taken to be the first ones.
std::string ServeCommandOf(const EngineConfig& engine);

}  // namespace switchyard
