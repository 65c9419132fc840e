// What one GPU can do at most, measured in the running process, so that a benchmark prints a fraction of a limit taken
// on the same card, clocks and driver. Timed with CUDA events after a warm-up; a call takes a second or some.
#pragma once

#include "kernels/tensor.h"

namespace switchyard {

struct GpuLimits {
  // Device-to-device copy of buffers far larger than the L2 cache; each byte counts twice, once read and once written.
  double copy_bytes_per_second;
  // The best of several large cuBLASLt products on random data, accumulated in float32; a multiply-add counts two.
  double matrix_flops_per_second;
};

// `dtype`: kBFloat16 or kFloat16. Takes up to 2 GiB of device memory, less where less is free, and gives it back before
// it returns. What CUDA or cuBLASLt refuses ends the process with its message.
GpuLimits MeasureGpuLimits(int device, DType dtype);

}  // namespace switchyard
