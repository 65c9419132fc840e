#include "engine/engine_config.h"

namespace switchyard {

const char* Name(AttentionParallelism mode) {
  return mode == AttentionParallelism::kTensorParallel ? "tensor-parallel" : "replicated";
}

const char* Name(LoadFormat format) { return format == LoadFormat::kDummy ? "dummy" : "auto"; }

const char* Name(Admission admission) { return admission == Admission::kOptimistic ? "optimistic" : "worst-case"; }

const char* Name(CpuActivations activations) {
  switch (activations) {
    case CpuActivations::kFloat32:
      return "float32";
    case CpuActivations::kBFloat16:
      return "bfloat16";
    case CpuActivations::kInt8:
      return "int8";
  }
  return "?";
}

}  // namespace switchyard
