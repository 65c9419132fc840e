#include "engine/engine_config.h"

namespace switchyard {

const char* Name(AttentionParallelism mode) {
  return mode == AttentionParallelism::kTensorParallel ? "tensor-parallel" : "replicated";
}

}  // namespace switchyard
