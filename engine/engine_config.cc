#include "engine/engine_config.h"

namespace switchyard {

const char* Name(AttentionParallelism mode) {
  return mode == AttentionParallelism::kTensorParallel ? "tensor-parallel" : "replicated";
}

const char* Name(LoadFormat format) { return format == LoadFormat::kDummy ? "dummy" : "auto"; }

}  // namespace switchyard
