// A checkpoint with a token whose embedding is NaN, and what it must do: fail the one request that has the token.
#pragma once

#include <string>

#include "engine/engine_config.h"

namespace switchyard {

// Fills config.model_dir with a small random checkpoint of its own, sound at first and then poisoned, and compares
// engines on both: greedy output and prompt scores of requests that share steps, and afterwards pages, with poisoned
// ones are those of the sound checkpoint; poisoned requests end in kError that says why; all pages return. `where`
// names the case and its directory.
void ExpectNanToFailItsOwnRequestOnly(EngineConfig config, const std::string& where);

}  // namespace switchyard
