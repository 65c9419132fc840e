// Whether a configuration goes with a checkpoint: each flag within its limits, and those of the device's kernels.
#pragma once

#include "absl/status/status.h"
#include "engine/engine_config.h"
#include "engine/model/decoder_spec.h"

namespace switchyard {

// `config` with its max_model_len resolved; `world_size` counts the ranks of all processes. INVALID_ARGUMENT names the
// flag, its value, the limit and the remedy.
absl::Status CheckConfig(const EngineConfig& config, const DecoderSpec& spec, int world_size);

}  // namespace switchyard
