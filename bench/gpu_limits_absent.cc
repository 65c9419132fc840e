// In a build without CUDA.
#include <cstdio>
#include <cstdlib>

#include "bench/gpu_limits.h"

namespace switchyard {

GpuLimits MeasureGpuLimits(int device, DType dtype) {
  std::fprintf(stderr, "this build has no CUDA: build the preset gpu-check, or measure with --device cpu\n");
  std::exit(1);
}

}  // namespace switchyard
