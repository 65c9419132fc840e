// The bundled model on two ranks that are threads of the test.
#pragma once

#include "engine/engine_config.h"

namespace switchyard {

inline EngineConfig TinyConfig() {
  return {.model_dir = SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral",
          .num_local_ranks = 2,
          .num_threads = 2,
          .kv_cache_bytes = int64_t{64} << 20};
}

}  // namespace switchyard
